"""The wire format of sync daemons in the IPVS netlink family.

The numbers are those of `include/uapi/linux/ip_vs.h`, the layouts those of
`ip_vs_genl_fill_daemon` in `net/netfilter/ipvs/ip_vs_ctl.c`. A payload is what
follows the generic netlink header. No I/O.
"""

from enum import IntEnum
from ipaddress import IPv4Address, IPv6Address
from typing import Final

from clusterf.ipvs.netlink.attributes import NESTED, U16, U32, StructError, attribute, attributes
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


def encode_daemon(daemon: SyncDaemon) -> bytes:
    """Return the payload that starts a daemon with the kernel's default group and port."""
    return _encode(
        attribute(_Daemon.STATE, U32.pack(daemon.role))
        + attribute(_Daemon.MCAST_IFN, daemon.interface.encode() + b"\0")
        + attribute(_Daemon.SYNC_ID, U32.pack(daemon.syncid))
    )


def encode_role(role: SyncRole) -> bytes:
    """Return the payload that names the daemon to stop."""
    return _encode(attribute(_Daemon.STATE, U32.pack(role)))


def _encode(daemon: bytes) -> bytes:
    return attribute(_DAEMON | NESTED, daemon)


def decode_daemon(payload: bytes) -> SyncDaemon:
    """Return the daemon of an answer to GET, with the name of its interface in a printable form.

    A kernel that does not return group and port (before 4.3) uses the defaults.
    Raises ValueError if the payload is malformed.
    """
    try:
        found = attributes(attributes(payload)[_DAEMON])
        daemon = SyncDaemon(
            SyncRole(U32.unpack(found[_Daemon.STATE])[0]),
            escape(found[_Daemon.MCAST_IFN].split(b"\0", 1)[0]),
            U32.unpack(found[_Daemon.SYNC_ID])[0],
        )
        if _Daemon.MCAST_PORT in found:
            daemon = daemon._replace(port=U16.unpack(found[_Daemon.MCAST_PORT])[0])
        if _Daemon.MCAST_GROUP in found:
            daemon = daemon._replace(group=str(IPv4Address(found[_Daemon.MCAST_GROUP])))
        elif _Daemon.MCAST_GROUP6 in found:
            daemon = daemon._replace(group=str(IPv6Address(found[_Daemon.MCAST_GROUP6])))
    except (KeyError, StructError) as error:
        raise ValueError(f"malformed synchronisation daemon from the kernel: {error!r}") from error
    return daemon
