"""Names and texts made printable: what comes from outside may hold anything, a line that is printed may not.

Each edge at which text enters makes it printable once: `escape` for names, which stay
distinct, `printable` for all else, which leaves alone what is printable already.
"""

import json
from unicodedata import category

__all__ = ["escape", "parse_node_name", "printable", "printable_json"]

MAX_NODE_NAME = 255  # bytes


# letters by their category, but invisible
_BLANKS = frozenset("\u115f\u1160\u2800\u3164\uffa0")


def escape(name: bytes) -> str:
    r"""Return a printable form of `name`; different names have different forms.

    Letters, digits, punctuation, symbols and the plain space stay. A backslash
    is doubled; control characters become `\x1b`, bytes that are not UTF-8
    `\xff`, and other characters that are invisible or change their neighbours
    (other spaces, direction marks, combining marks) `\u00a0` or `\U000e0001`.
    """
    text = name.decode(errors="surrogateescape")
    if text.isascii() and text.isprintable() and "\\" not in text:
        return text
    return "".join(map(_escape_one, text))


def printable(text: str, limit: int | None = None) -> str:
    r"""Return `text` as one printable line, shortened to `limit` characters if there is a limit.

    What `escape` would escape is escaped, but backslashes stay: so names that were escaped
    stay as they are, and a second call changes nothing.
    """
    short = _cut(text, limit)
    if short.isascii() and short.isprintable():
        return short
    return _cut("".join(char if _is_plain(char) else _code(char) for char in short), limit)


def printable_json(text: str) -> str:
    """Return the JSON `text`, which is on one line, with the characters escaped that are not printable in its strings.

    What it decodes to stays the same.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(char if _is_plain(char) else json.dumps(char)[1:-1] for char in text)


def _cut(text: str, limit: int | None) -> str:
    return text if limit is None or len(text) <= limit else f"{text[: limit - 1]}…"


def _escape_one(char: str) -> str:
    if char == "\\":
        return r"\\"
    return char if _is_plain(char) else _code(char)


def _is_plain(char: str) -> bool:
    return char == " " or (category(char)[0] in "LNPS" and char not in _BLANKS)


def _code(char: str) -> str:
    code = ord(char)
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    if code < 0x80:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def parse_node_name(text: str) -> str:
    """Return the name of a node: printable, as it is shown in many places, and a part of a key. Raises ValueError."""
    raw = text.encode(errors="surrogateescape")
    if not 0 < len(raw) <= MAX_NODE_NAME or "/" in text or escape(raw) != text:
        raise ValueError(f"not the name of a node: {escape(raw[:MAX_NODE_NAME])}")
    return text
