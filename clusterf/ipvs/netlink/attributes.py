"""Netlink attributes: a size and a kind of 16 bits each, and a payload, padded to four bytes.

Numbers are in host byte order unless noted (`include/uapi/linux/netlink.h`).
"""

from struct import Struct
from struct import error as StructError  # noqa: N812
from typing import Final

__all__ = ["HEADER", "NESTED", "PORT", "U8", "U16", "U32", "StructError", "attribute", "attributes"]

U8: Final = Struct("=B")
U16: Final = Struct("=H")
U32: Final = Struct("=I")
PORT: Final = Struct("!H")
"""A port, which is in network byte order."""

HEADER: Final = Struct("=HH")
"""The header of an attribute: its size, this header included, and its kind."""

NESTED: Final = 0x8000
"""The flag in the kind of an attribute whose payload is attributes."""

_KIND = 0x3FFF


def attribute(kind: int, payload: bytes) -> bytes:
    """Return one attribute."""
    return HEADER.pack(len(payload) + 4, kind) + payload + b"\0" * (-len(payload) % 4)


def attributes(data: bytes) -> dict[int, bytes]:
    """Return the payload of each attribute in `data` by its kind; the last one of equal kinds.

    Raises ValueError unless attributes fill `data` exactly.
    """
    found: dict[int, bytes] = {}
    unpack = HEADER.unpack_from
    offset, end = 0, len(data)
    while end - offset >= 4:
        size, kind = unpack(data, offset)
        if not 4 <= size <= end - offset:
            raise ValueError(f"netlink attribute {kind & _KIND} of {size} bytes in {end - offset}")
        found[kind & _KIND] = data[offset + 4 : offset + size]
        offset += (size + 3) & ~3
    if offset < end:
        raise ValueError(f"{end - offset} bytes after the last netlink attribute")
    return found
