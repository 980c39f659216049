from contextlib import suppress
from fnmatch import fnmatchcase
from time import monotonic, process_time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clusterf.lib.patterns import check_pattern, compile_pattern, matches_any

ALPHABET = "ab-]*?[.!\\é\n"  # the other form of negation, `^`, is not one of fnmatch


@pytest.mark.parametrize(
    ("pattern", "matching", "others"),
    [
        ("web", [b"web"], [b"Web", b"webs", b"", b"aweb"]),
        (
            "team-a-*",
            [b"team-a-", b"team-a-web", b"team-a-\n", b"team-a-\xff"],
            [b"team-b-web", b"team-a", b"x-team-a-"],
        ),
        ("*", [b"", b"web", b"\xff"], []),
        ("w?b", [b"web", "wéb".encode(), b"w\xffb"], [b"wb", b"weeb"]),
        ("w[a-f0]b", [b"web", b"w0b"], [b"wgb", b"w-b"]),
        ("w[!a-f]b", [b"wgb", b"w\xffb"], [b"web", b"wb"]),
        ("w[^a-f]b", [b"wgb"], [b"web", b"w^b!"]),
        ("w[]]b", [b"w]b"], [b"wb"]),
        ("w[!]]b", [b"wab"], [b"w]b"]),
        ("w[a-]b", [b"wab", b"w-b"], [b"wbb"]),
        ("w[b", [b"w[b"], [b"wb"]),
        ("[*]", [b"*"], [b"web"]),
        ("a.b+(c)$", [b"a.b+(c)$"], [b"axb+(c)$", b"a.bb(c)"]),
        (r"a\*", [rb"a\x"], [b"a*"]),
    ],
)
def test_pattern_matches_whole_names(pattern: str, matching: list[bytes], others: list[bytes]) -> None:
    assert check_pattern(pattern) == pattern
    assert [name for name in matching + others if matches_any(name, [pattern])] == matching


def test_name_matches_one_of_several_patterns() -> None:
    assert matches_any(b"web", ["api", "w*"])
    assert not matches_any(b"web", ["api", "x*"])
    assert not matches_any(b"web", [])


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ("", "an empty pattern"),
        ("a/b", "no name holds a slash: a/b"),
        ("a" * 257, "a pattern of 257 characters, at most 256 allowed"),
        ("[z-a]", "a range that is empty: z-a"),
        ("?" * 256, f"pattern too complex: {'?' * 256}"),
    ],
)
def test_invalid_pattern_for_names_is_refused(pattern: str, reason: str) -> None:
    with pytest.raises(ValueError) as caught:
        check_pattern(pattern)
    assert str(caught.value) == reason


def test_long_name_is_matched_in_linear_time() -> None:
    begun = process_time()
    assert not matches_any(b"a" * 1_000_000, ["*a" * 30 + "b"])
    assert process_time() - begun < 5


@given(st.text(ALPHABET, min_size=1, max_size=8), st.text(ALPHABET, max_size=6))
def test_patterns_match_what_fnmatch_does(pattern: str, name: str) -> None:
    with suppress(ValueError):
        check_pattern(pattern)
        assert matches_any(name.encode(), [pattern]) == fnmatchcase(name, pattern)


@pytest.mark.parametrize(
    ("pattern", "text", "found"),
    [
        ("ok", b"all ok", True),
        ("^ok$", b"all ok", False),
        ("gr..en", "größen".encode(), True),
        (r"\d{3}", b"12", False),
        ("(a)(b)", b"xaby", True),
    ],
)
def test_pattern_is_found_anywhere_in_the_text(pattern, text, found):
    assert bool(compile_pattern(pattern).search(text)) is found


@pytest.mark.parametrize(
    ("pattern", "reason"), [("(", "missing"), ("*", "repetition"), (r"(a)\1", "escape"), ("a{1001}", "repetition")]
)
def test_invalid_pattern_is_rejected_with_a_reason(pattern, reason):
    with pytest.raises(ValueError, match=rf"invalid regular expression \(RE2\): .*{reason}"):
        compile_pattern(pattern)


def test_complex_pattern_is_rejected():
    with pytest.raises(ValueError, match=r"too complex: \d+ instructions of RE2, at most 500 allowed"):
        compile_pattern("(a?){300}")


def test_pattern_that_would_backtrack_takes_linear_time():
    pattern = compile_pattern("(a+)+$")
    start = monotonic()
    assert pattern.search(b"a" * 65536 + b"b") is None
    assert monotonic() - start < 5
