import time

import pytest

from clusterf.lib.regex import compile_pattern


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
    start = time.monotonic()
    assert pattern.search(b"a" * 65536 + b"b") is None
    assert time.monotonic() - start < 5
