"""Names made printable: a name may hold any bytes, a line of a log may not."""

from unicodedata import category

__all__ = ["escape", "parse_node_name"]

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


def _escape_one(char: str) -> str:
    code = ord(char)
    if char == "\\":
        return r"\\"
    if char == " " or (category(char)[0] in "LNPS" and char not in _BLANKS):
        return char
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
