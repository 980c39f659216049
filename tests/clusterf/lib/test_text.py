import json
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from clusterf.lib.text import escape, parse_node_name, printable, printable_json

ESCAPE = re.compile(r"\\(?:(\\)|x([0-9a-f]{2})|u([0-9a-f]{4})|U([0-9a-f]{8}))|([^\\])", re.DOTALL)


def unescape(text: str) -> bytes:
    """Return the name that `text` was made of; fails where `text` is not well formed."""
    assert ESCAPE.sub("", text) == ""
    name = b""
    for backslash, byte, short, long, char in ESCAPE.findall(text):
        if byte:
            name += bytes([int(byte, 16)])
        else:
            name += (backslash or char or chr(int(short or long, 16))).encode()
    return name


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (b"web", "web"),
        (b"", ""),
        (b"web api-1_2.example:80", "web api-1_2.example:80"),
        ("größe-東京-🚀".encode(), "größe-東京-🚀"),
        (b"a\nb\tc\x00\x7f", r"a\x0ab\x09c\x00\x7f"),
        (b"\x1b[31mred", r"\x1b[31mred"),
        (b"back\\slash", r"back\\slash"),
        (b"\\x0a", r"\\x0a"),
        (b"\xff\xc3", r"\xff\xc3"),
        (b"\xed\xa0\x80", r"\xed\xa0\x80"),
        ("a\u00a0b\u3000c\u2028".encode(), r"a\u00a0b\u3000c\u2028"),
        ("\u0085\u009b".encode(), r"\u0085\u009b"),
        ("\u202egnp".encode(), r"\u202egnp"),
        ("a\u200bb\ufeff".encode(), r"a\u200bb\ufeff"),
        ("\u3164\u2800".encode(), r"\u3164\u2800"),
        ("e\u0301".encode(), r"e\u0301"),
        ("\U000e0001".encode(), r"\U000e0001"),
    ],
)
def test_invisible_characters_are_escaped(name, text):
    assert escape(name) == text


@given(st.one_of(st.binary(), st.text(st.characters(codec="utf-8")).map(str.encode)))
@example(b"\\")
@example(b"\xc2\x85\x85")
def test_escaped_name_is_printable_and_unique(name):
    text = escape(name)
    assert text.isprintable()
    assert unescape(text) == name


@pytest.mark.parametrize("name", ["docker1", "a.example.org", "Knoten 7", "é", "n" * 255])
def test_name_of_a_node_is_printable(name):
    assert parse_node_name(name) == name


@pytest.mark.parametrize("name", ["", "a/b", "a\nb", "\x1b[1m", "a\\b", "\udcff", "n" * 256, "é" * 128])
def test_text_that_is_not_the_name_of_a_node_is_refused(name):
    with pytest.raises(ValueError, match=r"^not the name of a node: "):
        parse_node_name(name)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("etcdserver: no space", "etcdserver: no space"),
        ("a\nb\t\x1b[1m\x9b\x7f", r"a\x0ab\x09\x1b[1m\u009b\x7f"),
        ("\u202egnp \u2028 \ud800 \udcff", r"\u202egnp \u2028 \ud800 \xff"),
        (r"C:\x \x0a", r"C:\x \x0a"),
    ],
)
def test_text_is_made_printable(text, shown):
    assert printable(text) == shown


def test_long_text_is_shortened_before_and_after_it_is_escaped():
    assert printable("x" * 1000, 10) == "xxxxxxxxx…"
    assert printable("\n" * 1000, 10) == r"\x0a\x0a\…"
    assert printable("x" * 10, 10) == "x" * 10


@given(st.text() | st.binary().map(lambda raw: raw.decode(errors="surrogateescape")), st.none() | st.integers(1, 20))
def test_printable_text_stays_as_it_is(text, limit):
    shown = printable(text, limit)
    assert shown.isprintable()
    assert limit is None or len(shown) <= limit
    assert printable(shown) == shown
    name = escape(text.encode(errors="surrogatepass"))
    assert printable(name) == name


@given(st.dictionaries(st.text(), st.text() | st.lists(st.text())))
@example({"\u202e": "\x7f\u2028\U000e0001"})
def test_json_is_made_printable_and_stays_the_same(value):
    shown = printable_json(json.dumps(value, ensure_ascii=False))
    assert shown == printable(shown)
    assert json.loads(shown) == value
