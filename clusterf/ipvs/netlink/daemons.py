"""The wire format of the requests about synchronisation daemons, in the IPVS netlink family.

The numbers are those of `include/uapi/linux/ip_vs.h`, the layouts those of
`ip_vs_genl_fill_daemon` in `net/netfilter/ipvs/ip_vs_ctl.c`. A payload is what
follows the generic netlink header. Nothing in this module does I/O.
"""

from enum import IntEnum
from ipaddress import IPv4Address, IPv6Address
from struct import Struct
from struct import error as StructError  # noqa: N812
from typing import Final

from clusterf.ipvs.netlink.attributes import NESTED, attribute, attributes
from clusterf.ipvs.sync import SyncDaemon, SyncRole
from clusterf.lib.text import escape

__all__ = ["DaemonCommand", "decode_daemon", "encode_daemon", "encode_role"]


class DaemonCommand(IntEnum):
    """A command of the family about daemons (`IPVS_CMD_*_DAEMON`)."""

    NEW = 9
    DEL = 10
    GET = 11


class _Daemon(IntEnum):
    """An attribute within DAEMON (`IPVS_DAEMON_ATTR_*`)."""

    STATE = 1
    MCAST_IFN = 2
    SYNC_ID = 3
    MCAST_GROUP = 5
    MCAST_GROUP6 = 6
    MCAST_PORT = 7


_DAEMON: Final = 3  # IPVS_CMD_ATTR_DAEMON

_U16 = Struct("=H")
_U32 = Struct("=I")


def encode_daemon(daemon: SyncDaemon) -> bytes:
    """Return the payload that starts a daemon, whose group and port are left to the kernel."""
    return _encode(
        attribute(_Daemon.STATE, _U32.pack(daemon.role))
        + attribute(_Daemon.MCAST_IFN, daemon.interface.encode() + b"\0")
        + attribute(_Daemon.SYNC_ID, _U32.pack(daemon.syncid))
    )


def encode_role(role: SyncRole) -> bytes:
    """Return the payload that names a daemon to be stopped."""
    return _encode(attribute(_Daemon.STATE, _U32.pack(role)))


def _encode(daemon: bytes) -> bytes:
    return attribute(_DAEMON | NESTED, daemon)


def decode_daemon(payload: bytes) -> SyncDaemon:
    """Return the daemon of an answer to GET, the name of its interface in a printable form.

    A kernel that does not tell group and port (before 4.3) has the usual ones.
    Raises ValueError if the payload is malformed.
    """
    try:
        found = attributes(attributes(payload)[_DAEMON])
        daemon = SyncDaemon(
            SyncRole(_U32.unpack(found[_Daemon.STATE])[0]),
            escape(found[_Daemon.MCAST_IFN].split(b"\0", 1)[0]),
            _U32.unpack(found[_Daemon.SYNC_ID])[0],
        )
        if _Daemon.MCAST_PORT in found:
            daemon = daemon._replace(port=_U16.unpack(found[_Daemon.MCAST_PORT])[0])
        if _Daemon.MCAST_GROUP in found:
            daemon = daemon._replace(group=str(IPv4Address(found[_Daemon.MCAST_GROUP])))
        elif _Daemon.MCAST_GROUP6 in found:
            daemon = daemon._replace(group=str(IPv6Address(found[_Daemon.MCAST_GROUP6])))
    except (KeyError, StructError) as error:
        raise ValueError(f"malformed synchronisation daemon from the kernel: {error!r}") from error
    return daemon
