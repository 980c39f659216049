"""Addresses and prefixes on the links between processes.

Hooks for msgspec's encoders and decoders: an address travels as its 4 or 16
bytes, a prefix as those and one more byte, its length. A field must name its
family: msgspec cannot tell two such types apart in one union.
"""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Any

__all__ = ["dec_hook", "enc_hook"]


def enc_hook(obj: object) -> bytes:
    """Return the bytes of an address or a prefix. Raises NotImplementedError for anything else."""
    match obj:
        case IPv4Address() | IPv6Address():
            return obj.packed
        case IPv4Network() | IPv6Network():
            return obj.network_address.packed + bytes([obj.prefixlen])
        case _:
            raise NotImplementedError(f"cannot encode {type(obj).__name__}")


def dec_hook(kind: type, obj: Any) -> object:
    """Return the address or prefix of type `kind` that `enc_hook` has encoded as `obj`.

    Raises ValueError for bytes that are invalid for the type, TypeError for
    anything but bytes, NotImplementedError for another type.
    """
    if kind not in (IPv4Address, IPv6Address, IPv4Network, IPv6Network):
        raise NotImplementedError(f"cannot decode {kind.__name__}")
    if not isinstance(obj, bytes):
        raise TypeError(f"Expected `bytes`, got `{type(obj).__name__}`")
    if kind in (IPv4Address, IPv6Address):
        return kind(obj)
    return kind((obj[:-1], int.from_bytes(obj[-1:])))
