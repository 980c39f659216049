"""The wire format of real servers: to DEST attributes, and from them.

Numbers and layouts are those of `include/uapi/linux/ip_vs.h` and
`ip_vs_genl_fill_dest` in `net/netfilter/ipvs/ip_vs_ctl.c`. As there are many real
servers, bytes that many share are encoded once. Kernels from 5.3 on always send the
same layout, which is decoded by fixed offsets; other layouts attribute by
attribute.
"""

import socket
from enum import IntEnum
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address
from struct import Struct
from typing import Final

from clusterf.ipvs.netlink.attributes import HEADER, NESTED, PORT, U8, U16, U32, StructError, attribute, attributes
from clusterf.ipvs.table import (
    ConnectionCount,
    Method,
    RealServer,
    RealServerSettings,
    Tunnel,
    TunnelChecksum,
    TunnelType,
)
from clusterf.lib.addresses import Family, IPAddress

__all__ = ["decode_address", "decode_connections", "decode_destination", "encode_destination"]


class _Dest(IntEnum):
    """An attribute within DEST (`IPVS_DEST_ATTR_*`)."""

    ADDR = 1
    PORT = 2
    FWD_METHOD = 3
    WEIGHT = 4
    U_THRESH = 5
    L_THRESH = 6
    ACTIVE_CONNS = 7
    INACTIVE_CONNS = 8
    PERSIST_CONNS = 9
    ADDR_FAMILY = 11
    TUN_TYPE = 13
    TUN_PORT = 14
    TUN_FLAGS = 15


_DEST: Final = 2  # IPVS_CMD_ATTR_DEST

_METHODS: Final = {int(method): method for method in Method}
_TUNNEL_TYPES: Final = {int(kind): kind for kind in TunnelType}
_CHECKSUMS: Final = {int(checksum): checksum for checksum in TunnelChecksum}
_PLAIN: Final = Tunnel()


_ADDR_HEADER = HEADER.pack(4 + 16, _Dest.ADDR)
_PORT_HEADER = HEADER.pack(4 + 2, _Dest.PORT)
_FAMILY_HEADER = HEADER.pack(4 + 2, _Dest.ADDR_FAMILY)

# the key of a real server: headers of DEST and ADDR, the address ("16s" pads that of IPv4), the port, the family
_KEY = Struct("=4s4s16s4sH2x8s")
_FAMILIES: Final = {4: attribute(_Dest.ADDR_FAMILY, U16.pack(2)), 16: attribute(_Dest.ADDR_FAMILY, U16.pack(10))}
_BARE_HEADER = HEADER.pack(_KEY.size, _DEST | NESTED)

# the usual answer: header of DEST; address; port; settings, seven attributes of eight bytes; three counts of
# connections; family; statistics
_DUMPED = Struct("=HH4s16s4sH2x56s4s4x4s4x4s4x4sH2x")
_HEADERS: Final = (
    *(_ADDR_HEADER, _PORT_HEADER),
    *(HEADER.pack(4 + 4, kind) for kind in (_Dest.ACTIVE_CONNS, _Dest.INACTIVE_CONNS, _Dest.PERSIST_CONNS)),
    _FAMILY_HEADER,
)
_SETTINGS: Final = (
    *(_Dest.FWD_METHOD, _Dest.WEIGHT),
    *(_Dest.TUN_TYPE, _Dest.TUN_PORT, _Dest.TUN_FLAGS),
    *(_Dest.U_THRESH, _Dest.L_THRESH),
)

_ADDRESSES: Final[dict[int, tuple[type[IPv4Address] | type[IPv6Address], int]]] = {
    Family.IPV4: (IPv4Address, 4),
    Family.IPV6: (IPv6Address, 16),
}


def encode_destination(real: RealServer, settings: RealServerSettings | None) -> bytes:
    """Return the DEST attribute of a real server; without settings only its key.

    Raises struct.error for a number that does not fit its attribute.
    """
    header, rest = (_BARE_HEADER, b"") if settings is None else _encode_settings(settings)
    packed = real.address.packed
    port = socket.htons(real.port)
    return _KEY.pack(header, _ADDR_HEADER, packed, _PORT_HEADER, port, _FAMILIES[len(packed)]) + rest


@lru_cache(maxsize=4096)
def _encode_settings(settings: RealServerSettings) -> tuple[bytes, bytes]:
    """Return the DEST header for a real server with these settings, and the encoded settings."""
    payload = b"".join(
        attribute(kind, U32.pack(number))
        for kind, number in (
            (_Dest.FWD_METHOD, settings.method),
            (_Dest.WEIGHT, settings.weight),
            (_Dest.U_THRESH, settings.upper),
            (_Dest.L_THRESH, settings.lower),
        )
    )
    # Without these the kernel uses plain IP in IP, in an edit too; kernels before 5.3 do not know them.
    if settings.tunnel != _PLAIN:
        payload += attribute(_Dest.TUN_TYPE, U8.pack(settings.tunnel.type))
        payload += attribute(_Dest.TUN_PORT, PORT.pack(settings.tunnel.port))
        payload += attribute(_Dest.TUN_FLAGS, U16.pack(settings.tunnel.checksum))
    return HEADER.pack(_KEY.size + len(payload), _DEST | NESTED), payload


def decode_destination(payload: bytes) -> tuple[RealServer, RealServerSettings]:
    """Return the real server of an answer to GET_DEST.

    An unknown forwarding method, tunnel type or tunnel flag is decoded as BYPASS,
    which is never desired, so that a diff repairs it. Equal settings are one
    object. Raises ValueError if the answer is malformed.
    """
    try:
        return _decode_usual(payload) or _decode_any(payload)
    except (KeyError, StructError) as error:
        raise ValueError(f"malformed real server from the kernel: {error!r}") from error


def _decode_usual(payload: bytes) -> tuple[RealServer, RealServerSettings] | None:
    """Return the real server if the answer has the usual layout, else None."""
    if len(payload) < _DUMPED.size:
        return None
    size, kind, one, address, two, port, settings, *more, last, family = _DUMPED.unpack_from(payload)
    if (one, two, *more, last) != _HEADERS or kind != _DEST or size != len(payload):
        return None
    found = _usual_settings(settings)
    return None if found is None else (RealServer(decode_address(family, address), socket.ntohs(port)), found)


@lru_cache(maxsize=4096)
def _usual_settings(data: bytes) -> RealServerSettings | None:
    """Return the settings, None if these are not the usual attributes."""
    found = attributes(data)
    return _decode_settings(found) if tuple(found) == _SETTINGS else None


def _decode_any(payload: bytes) -> tuple[RealServer, RealServerSettings]:
    dest = attributes(attributes(payload)[_DEST])
    return _decode_key(dest), _decode_settings(dest)


def decode_connections(payload: bytes) -> tuple[RealServer, ConnectionCount]:
    """Return the real server of an answer to GET_DEST with its connections.

    Raises ValueError if the answer is malformed.
    """
    try:
        dest = attributes(attributes(payload)[_DEST])
        active, inactive = (U32.unpack_from(dest[a])[0] for a in (_Dest.ACTIVE_CONNS, _Dest.INACTIVE_CONNS))
        return _decode_key(dest), ConnectionCount(active, inactive)
    except (KeyError, StructError) as error:
        raise ValueError(f"malformed real server from the kernel: {error!r}") from error


def _decode_key(dest: dict[int, bytes]) -> RealServer:
    family = U16.unpack_from(dest[_Dest.ADDR_FAMILY])[0]
    return RealServer(decode_address(family, dest[_Dest.ADDR]), PORT.unpack_from(dest[_Dest.PORT])[0])


def _decode_settings(dest: dict[int, bytes]) -> RealServerSettings:
    return _shared_settings(
        dest[_Dest.FWD_METHOD],
        dest[_Dest.WEIGHT],
        dest[_Dest.U_THRESH],
        dest[_Dest.L_THRESH],
        # older kernels have IP in IP only, and send none of these
        dest.get(_Dest.TUN_TYPE, b"\0"),
        dest.get(_Dest.TUN_PORT, b"\0\0"),
        dest.get(_Dest.TUN_FLAGS, b"\0\0"),
    )


@lru_cache(maxsize=4096)
def _shared_settings(method: bytes, weight: bytes, upper: bytes, lower: bytes, *wrapping: bytes) -> RealServerSettings:
    known = _METHODS.get(U32.unpack_from(method)[0], Method.BYPASS)
    tunnel = _decode_tunnel(*wrapping) if known is Method.TUNNEL else _PLAIN
    return RealServerSettings(
        Method.BYPASS if tunnel is None else known,
        U32.unpack_from(weight)[0],
        U32.unpack_from(upper)[0],
        U32.unpack_from(lower)[0],
        tunnel or _PLAIN,
    )


def _decode_tunnel(kind: bytes, port: bytes, flags: bytes) -> Tunnel | None:
    """Return the tunnel, None if its type or its flags are unknown."""
    found = _TUNNEL_TYPES.get(U8.unpack_from(kind)[0])
    checksum = _CHECKSUMS.get(U16.unpack_from(flags)[0])
    if found is None or checksum is None:
        return None
    return Tunnel(found, PORT.unpack_from(port)[0], checksum)


def decode_address(family: int, data: bytes) -> IPAddress:
    """Return the address at the begin of `data`. Raises KeyError if the family is not IPv4 or IPv6."""
    kind, size = _ADDRESSES[family]
    return kind(data[:size])
