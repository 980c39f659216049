"""The IPVS netlink family's wire format: steps to requests, answers to values.

The numbers and layouts are those of `include/uapi/linux/ip_vs.h` and
`net/netfilter/ipvs/ip_vs_ctl.c`. A payload here is what follows the generic
netlink header: attributes, in host byte order but for addresses, ports and
IPv4 netmasks. Nothing in this module does I/O.
"""

import socket
from collections.abc import Callable
from enum import IntEnum
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address
from struct import Struct
from struct import error as StructError  # noqa: N812
from typing import Final

from clusterf.table import (
    Family,
    IPAddress,
    Method,
    Op,
    Protocol,
    RealServer,
    RealServerSettings,
    ServiceFlag,
    Step,
    VirtualServer,
    VirtualServerSettings,
)

__all__ = [
    "Command",
    "attributes",
    "decode_connections",
    "decode_real",
    "decode_virtual",
    "encode",
    "encode_key",
]


class Command(IntEnum):
    """A command of the family (`IPVS_CMD_*`)."""

    NEW_SERVICE = 1
    SET_SERVICE = 2
    DEL_SERVICE = 3
    GET_SERVICE = 4
    NEW_DEST = 5
    SET_DEST = 6
    DEL_DEST = 7
    GET_DEST = 8
    GET_INFO = 15
    FLUSH = 17


class _Top(IntEnum):
    """An attribute of a message (`IPVS_CMD_ATTR_*`)."""

    SERVICE = 1
    DEST = 2


class _Service(IntEnum):
    """An attribute within SERVICE (`IPVS_SVC_ATTR_*`)."""

    AF = 1
    PROTOCOL = 2
    ADDR = 3
    PORT = 4
    FWMARK = 5
    SCHED_NAME = 6
    FLAGS = 7
    TIMEOUT = 8
    NETMASK = 9
    PE_NAME = 11


class _Dest(IntEnum):
    """An attribute within DEST (`IPVS_DEST_ATTR_*`)."""

    ADDR = 1
    PORT = 2
    FWD_METHOD = 3
    WEIGHT = 4
    U_THRESH = 5
    L_THRESH = 6
    ACTIVE_CONNS = 7
    ADDR_FAMILY = 11
    TUN_TYPE = 13


_COMMANDS: Final = {
    Op.ADD_VIRTUAL: int(Command.NEW_SERVICE),
    Op.EDIT_VIRTUAL: int(Command.SET_SERVICE),
    Op.REMOVE_VIRTUAL: int(Command.DEL_SERVICE),
    Op.ADD_REAL: int(Command.NEW_DEST),
    Op.EDIT_REAL: int(Command.SET_DEST),
    Op.REMOVE_REAL: int(Command.DEL_DEST),
}

_PROTOCOLS: Final = {int(protocol): protocol for protocol in Protocol}

_HASHED = 0x2  # IP_VS_SVC_F_HASHED: the kernel's own flag
_ALL_FLAGS = 0xFFFFFFFF
_NESTED = 0x8000
_KIND = 0x3FFF

_HEADER = Struct("=HH")
_U16 = Struct("=H")
_PORT = Struct("!H")
_U32 = Struct("=I")
_BE32 = Struct("!I")
_FLAGS = Struct("=II")  # value, mask

# DEST is the bulk of what is sent, so it is packed at once: each attribute's header, then its value.
# "16s" pads an IPv4 address.
_REAL_KEY = Struct("=4s 4s16s 4sH2x 4sH2x")
_REAL = Struct("=4s 4s16s 4sH2x 4sH2x 4sI 4sI 4sI 4sI")
_REAL_KEY_HEADER = _HEADER.pack(_REAL_KEY.size, _Top.DEST | _NESTED)
_REAL_HEADER = _HEADER.pack(_REAL.size, _Top.DEST | _NESTED)
_ADDR_HEADER = _HEADER.pack(4 + 16, _Dest.ADDR)
_PORT_HEADER = _HEADER.pack(4 + 2, _Dest.PORT)
_FAMILY_HEADER = _HEADER.pack(4 + 2, _Dest.ADDR_FAMILY)
_METHOD_HEADER = _HEADER.pack(4 + 4, _Dest.FWD_METHOD)
_WEIGHT_HEADER = _HEADER.pack(4 + 4, _Dest.WEIGHT)
_UPPER_HEADER = _HEADER.pack(4 + 4, _Dest.U_THRESH)
_LOWER_HEADER = _HEADER.pack(4 + 4, _Dest.L_THRESH)

_ADDRESSES: Final[dict[int, tuple[Callable[[bytes], IPAddress], int]]] = {
    Family.IPV4: (IPv4Address, 4),
    Family.IPV6: (IPv6Address, 16),
}


def encode(step: Step) -> tuple[int, bytes]:
    """Return the command and the payload that do `step`.

    Raises struct.error for a number that does not fit its attribute: to keep
    them in range is the caller's part.
    """
    payload = encode_key(step.virtual)
    if step.real is not None:
        assert not isinstance(step.settings, VirtualServerSettings)
        payload += _encode_real(step.real, step.settings)
    elif step.settings is not None:
        assert isinstance(step.settings, VirtualServerSettings)
        payload = _encode_virtual(step.virtual, step.settings)
    return _COMMANDS[step.op], payload


@lru_cache(maxsize=4096)
def encode_key(virtual: VirtualServer) -> bytes:
    """Return the SERVICE attribute that names `virtual`."""
    return _attribute(_Top.SERVICE | _NESTED, _virtual_key(virtual))


def _encode_virtual(virtual: VirtualServer, settings: VirtualServerSettings) -> bytes:
    netmask = _netmask_format(virtual.family)
    payload = (
        _virtual_key(virtual)
        + _attribute(_Service.SCHED_NAME, settings.scheduler.encode() + b"\0")
        + _attribute(_Service.FLAGS, _FLAGS.pack(settings.flags, _ALL_FLAGS))
        + _attribute(_Service.TIMEOUT, _U32.pack(settings.timeout))
        + _attribute(_Service.NETMASK, netmask.pack(settings.netmask))
    )
    if settings.persistence_engine:
        payload += _attribute(_Service.PE_NAME, settings.persistence_engine.encode() + b"\0")
    return _attribute(_Top.SERVICE | _NESTED, payload)


def _virtual_key(virtual: VirtualServer) -> bytes:
    family = _attribute(_Service.AF, _U16.pack(virtual.family))
    if virtual.protocol is None or virtual.address is None:
        return family + _attribute(_Service.FWMARK, _U32.pack(virtual.fwmark))
    return (
        family
        + _attribute(_Service.PROTOCOL, _U16.pack(virtual.protocol))
        + _attribute(_Service.ADDR, virtual.address.packed.ljust(16, b"\0"))
        + _attribute(_Service.PORT, _PORT.pack(virtual.port))
    )


def _encode_real(real: RealServer, settings: RealServerSettings | None) -> bytes:
    packed = real.address.packed
    family = socket.AF_INET if len(packed) == 4 else socket.AF_INET6
    key = (_ADDR_HEADER, packed, _PORT_HEADER, socket.htons(real.port), _FAMILY_HEADER, family)
    if settings is None:
        return _REAL_KEY.pack(_REAL_KEY_HEADER, *key)
    return _REAL.pack(
        _REAL_HEADER,
        *key,
        *(_METHOD_HEADER, settings.method),
        *(_WEIGHT_HEADER, settings.weight),
        *(_UPPER_HEADER, settings.upper),
        *(_LOWER_HEADER, settings.lower),
    )


def _attribute(kind: int, payload: bytes) -> bytes:
    return _HEADER.pack(len(payload) + 4, kind) + payload + b"\0" * (-len(payload) % 4)


def _netmask_format(family: Family) -> Struct:
    """Return how a netmask is written: as an IPv4 address, or as a prefix length."""
    return _BE32 if family is Family.IPV4 else _U32


def attributes(data: bytes) -> dict[int, bytes]:
    """Return the payload of each attribute in `data` by its kind; of equal kinds the last.

    Raises ValueError unless attributes fill `data` exactly.
    """
    found: dict[int, bytes] = {}
    unpack = _HEADER.unpack_from
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


def decode_virtual(payload: bytes) -> tuple[VirtualServer, VirtualServerSettings] | None:
    """Return the virtual server of an answer to GET_SERVICE.

    None if it is of a kind that `VirtualServer` cannot name (another
    protocol): it is somebody else's. Raises ValueError if it is malformed.
    """
    try:
        service = attributes(attributes(payload)[_Top.SERVICE])
        virtual = _decode_key(service)
        return None if virtual is None else (virtual, _decode_settings(virtual.family, service))
    except (KeyError, StructError) as error:
        raise ValueError(f"malformed virtual server from the kernel: {error!r}") from error


def _decode_key(service: dict[int, bytes]) -> VirtualServer | None:
    family = Family(_U16.unpack_from(service[_Service.AF])[0])
    if _Service.FWMARK in service:
        return VirtualServer(family, fwmark=_U32.unpack_from(service[_Service.FWMARK])[0])
    protocol = _PROTOCOLS.get(_U16.unpack_from(service[_Service.PROTOCOL])[0])
    if protocol is None:
        return None
    address = _decode_address(family, service[_Service.ADDR])
    return VirtualServer(family, protocol, address, _PORT.unpack_from(service[_Service.PORT])[0])


def _decode_settings(family: Family, service: dict[int, bytes]) -> VirtualServerSettings:
    flags = ServiceFlag(_U32.unpack_from(service[_Service.FLAGS])[0] & ~_HASHED)
    timeout, netmask = 0, 0xFFFFFFFF if family is Family.IPV4 else 128
    if flags & ServiceFlag.PERSISTENT:
        (timeout,) = _U32.unpack_from(service[_Service.TIMEOUT])
        (netmask,) = _netmask_format(family).unpack_from(service[_Service.NETMASK])
    scheduler = _decode_text(service[_Service.SCHED_NAME])
    return VirtualServerSettings(scheduler, flags, timeout, netmask, _decode_text(service.get(_Service.PE_NAME, b"")))


def decode_real(payload: bytes) -> tuple[RealServer, RealServerSettings]:
    """Return the real server of an answer to GET_DEST.

    Forwarding that `Method` has no name for, or a tunnel other than plain IP
    in IP, is read as BYPASS: nobody asks for that, so that a diff repairs it.
    Equal settings are one object. Raises ValueError if it is malformed.
    """
    try:
        dest = attributes(attributes(payload)[_Top.DEST])
        return _decode_real_key(dest), _shared_settings(
            _decode_method(dest),
            _U32.unpack_from(dest[_Dest.WEIGHT])[0],
            _U32.unpack_from(dest[_Dest.U_THRESH])[0],
            _U32.unpack_from(dest[_Dest.L_THRESH])[0],
        )
    except (KeyError, StructError) as error:
        raise ValueError(f"malformed real server from the kernel: {error!r}") from error


def decode_connections(payload: bytes) -> tuple[RealServer, int]:
    """Return the real server of an answer to GET_DEST and its active connections.

    Raises ValueError if it is malformed.
    """
    try:
        dest = attributes(attributes(payload)[_Top.DEST])
        return _decode_real_key(dest), _U32.unpack_from(dest[_Dest.ACTIVE_CONNS])[0]
    except (KeyError, StructError) as error:
        raise ValueError(f"malformed real server from the kernel: {error!r}") from error


def _decode_real_key(dest: dict[int, bytes]) -> RealServer:
    family = _U16.unpack_from(dest[_Dest.ADDR_FAMILY])[0]
    return RealServer(_decode_address(family, dest[_Dest.ADDR]), _PORT.unpack_from(dest[_Dest.PORT])[0])


def _decode_method(dest: dict[int, bytes]) -> int:
    method: int = _U32.unpack_from(dest[_Dest.FWD_METHOD])[0]
    foreign_tunnel = method == Method.TUNNEL and any(dest.get(_Dest.TUN_TYPE, b""))
    return Method.BYPASS if foreign_tunnel or method > Method.BYPASS else method


@lru_cache(maxsize=4096)
def _shared_settings(method: int, weight: int, upper: int, lower: int) -> RealServerSettings:
    return RealServerSettings(Method(method), weight, upper, lower)


def _decode_address(family: int, data: bytes) -> IPAddress:
    address, size = _ADDRESSES[family]
    return address(data[:size])


def _decode_text(data: bytes) -> str:
    return data.split(b"\0", 1)[0].decode("ascii")
