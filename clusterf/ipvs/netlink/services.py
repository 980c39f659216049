"""The wire format of the IPVS netlink family: steps to requests, virtual servers from answers.

The numbers and layouts are those of `include/uapi/linux/ip_vs.h` and
`net/netfilter/ipvs/ip_vs_ctl.c`. A payload here is what follows the generic
netlink header: attributes, in host byte order but for addresses, ports and
IPv4 netmasks. No I/O.
"""

from enum import IntEnum
from functools import lru_cache
from struct import Struct
from typing import Final

from clusterf.ipvs.netlink.attributes import NESTED, PORT, U16, U32, StructError, attribute, attributes
from clusterf.ipvs.netlink.destinations import decode_address, encode_destination
from clusterf.ipvs.table import SINGLE_CLIENT, Op, ServiceFlag, Step, VirtualServer, VirtualServerSettings
from clusterf.lib.addresses import Family, Protocol

__all__ = ["Command", "decode_virtual", "encode_key", "encode_step"]


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


_SERVICE: Final = 1  # IPVS_CMD_ATTR_SERVICE

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

_BE32 = Struct("!I")
_FLAGS = Struct("=II")  # value, mask


def encode_step(step: Step) -> tuple[int, bytes]:
    """Return the command and the payload for `step`.

    Raises struct.error for a number that does not fit its attribute; the caller keeps
    them in range.
    """
    payload = encode_key(step.virtual)
    if step.real is not None:
        assert not isinstance(step.settings, VirtualServerSettings)
        payload += encode_destination(step.real, step.settings)
    elif step.settings is not None:
        assert isinstance(step.settings, VirtualServerSettings)
        payload = _encode_virtual(step.virtual, step.settings)
    return _COMMANDS[step.op], payload


@lru_cache(maxsize=4096)
def encode_key(virtual: VirtualServer) -> bytes:
    """Return the SERVICE attribute that names `virtual`."""
    return attribute(_SERVICE | NESTED, _virtual_key(virtual))


def _encode_virtual(virtual: VirtualServer, settings: VirtualServerSettings) -> bytes:
    netmask = _netmask_format(virtual.family)
    payload = (
        _virtual_key(virtual)
        + attribute(_Service.SCHED_NAME, settings.scheduler.encode() + b"\0")
        + attribute(_Service.FLAGS, _FLAGS.pack(settings.flags, _ALL_FLAGS))
        + attribute(_Service.TIMEOUT, U32.pack(settings.timeout))
        + attribute(_Service.NETMASK, netmask.pack(settings.netmask))
    )
    if settings.persistence_engine:
        payload += attribute(_Service.PE_NAME, settings.persistence_engine.encode() + b"\0")
    return attribute(_SERVICE | NESTED, payload)


def _virtual_key(virtual: VirtualServer) -> bytes:
    family = attribute(_Service.AF, U16.pack(virtual.family))
    if virtual.protocol is None or virtual.address is None:
        return family + attribute(_Service.FWMARK, U32.pack(virtual.fwmark))
    return (
        family
        + attribute(_Service.PROTOCOL, U16.pack(virtual.protocol))
        + attribute(_Service.ADDR, virtual.address.packed.ljust(16, b"\0"))
        + attribute(_Service.PORT, PORT.pack(virtual.port))
    )


def _netmask_format(family: Family) -> Struct:
    """Return the format of a netmask: an IPv4 address, or a prefix length."""
    return _BE32 if family is Family.IPV4 else U32


def decode_virtual(payload: bytes) -> tuple[VirtualServer, VirtualServerSettings] | None:
    """Return the virtual server of an answer to GET_SERVICE.

    None if its protocol is not one of `Protocol`: it is not ours. Raises
    ValueError if the answer is malformed.
    """
    try:
        service = attributes(attributes(payload)[_SERVICE])
        virtual = _decode_key(service)
        return None if virtual is None else (virtual, _decode_settings(virtual.family, service))
    except (KeyError, StructError) as error:
        raise ValueError(f"malformed virtual server from the kernel: {error!r}") from error


def _decode_key(service: dict[int, bytes]) -> VirtualServer | None:
    family = Family(U16.unpack_from(service[_Service.AF])[0])
    if _Service.FWMARK in service:
        return VirtualServer(family, fwmark=U32.unpack_from(service[_Service.FWMARK])[0])
    protocol = _PROTOCOLS.get(U16.unpack_from(service[_Service.PROTOCOL])[0])
    if protocol is None:
        return None
    address = decode_address(family, service[_Service.ADDR])
    return VirtualServer(family, protocol, address, PORT.unpack_from(service[_Service.PORT])[0])


def _decode_settings(family: Family, service: dict[int, bytes]) -> VirtualServerSettings:
    flags = ServiceFlag(U32.unpack_from(service[_Service.FLAGS])[0] & ~_HASHED)
    timeout, netmask = 0, SINGLE_CLIENT[family]
    if flags & ServiceFlag.PERSISTENT:
        (timeout,) = U32.unpack_from(service[_Service.TIMEOUT])
        (netmask,) = _netmask_format(family).unpack_from(service[_Service.NETMASK])
    scheduler = _decode_text(service[_Service.SCHED_NAME])
    return VirtualServerSettings(scheduler, flags, timeout, netmask, _decode_text(service.get(_Service.PE_NAME, b"\0")))


def _decode_text(data: bytes) -> str:
    text, end, _ = data.partition(b"\0")
    if not end:
        raise ValueError(f"unterminated text from the kernel: {data!r}")
    return text.decode("ascii")
