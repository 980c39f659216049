"""The kernel's sync daemons, by which directors share their connections.

The `master` of one director multicasts its connections, the `backup` of another adds
them to its own table, so that they continue when the VIP moves there. A director
may have one of each.
"""

import os
import re
from collections.abc import Iterable, Iterator
from enum import IntEnum
from shlex import quote
from typing import NamedTuple

from clusterf.lib.addresses import check_interface
from clusterf.lib.text import escape

__all__ = ["SyncDaemon", "SyncRole", "parse_sync", "start_command", "stop_command"]

_FORM = re.compile(r"(?P<roles>master|backup|both):(?P<interface>[^:]*)(:(?P<syncid>[0-9]{1,3}))?", re.ASCII)
_LARGEST_SYNCID = 255


class SyncRole(IntEnum):
    """What a daemon does, by its number in the kernel (`IP_VS_STATE_*`)."""

    MASTER = 1
    BACKUP = 2

    def __str__(self) -> str:
        return self.name.lower()


_ROLES = {"master": [SyncRole.MASTER], "backup": [SyncRole.BACKUP], "both": list(SyncRole)}


class SyncDaemon(NamedTuple):
    """A daemon that runs or is to run.

    A backup ignores masters with another syncid, group or port. Group and port of ours
    are the defaults of the kernel.
    """

    role: SyncRole
    interface: str
    syncid: int
    group: str = "224.0.0.81"
    port: int = 8848


def parse_sync(texts: Iterable[str]) -> tuple[SyncDaemon, ...]:
    """Return the daemons for texts of the form `ROLE:INTERFACE[:SYNCID]`, at most one of each role.

    Raises ValueError with the reason.
    """
    daemons = tuple(daemon for text in texts for daemon in _parse(text))
    for role in SyncRole:
        if sum(daemon.role is role for daemon in daemons) > 1:
            raise ValueError(f"more than one {role}")
    return daemons


def _parse(text: str) -> Iterator[SyncDaemon]:
    match = _FORM.fullmatch(text)
    if match is None:
        raise ValueError(f"{escape(os.fsencode(text))}: needs ROLE:INTERFACE[:SYNCID], as in both:eth1:7")
    interface, syncid = match["interface"], int(match["syncid"] or 0)
    check_interface(interface)
    if syncid > _LARGEST_SYNCID:
        raise ValueError(f"the syncid {syncid} is above {_LARGEST_SYNCID}")
    for role in _ROLES[match["roles"]]:
        yield SyncDaemon(role, interface, syncid)


def start_command(daemon: SyncDaemon) -> str:
    """Return the command that starts it, quoted for a shell."""
    interface = quote(daemon.interface)
    return f"ipvsadm --start-daemon {daemon.role} --mcast-interface {interface} --syncid {daemon.syncid}"


def stop_command(role: SyncRole) -> str:
    """Return the command that stops the daemon of that role."""
    return f"ipvsadm --stop-daemon {role}"
