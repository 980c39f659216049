"""Keeps the kernel's sync daemons as they have to be.

A daemon is bound to what its interface was when it started. When that goes, and
comes back as another one, or when the address goes that the master sends from,
the kernel neither ends the daemon nor tells of it. So both are on record,
beside the daemon that was started.
"""

import errno
import logging
import os
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final, NamedTuple, Protocol

import msgspec

from clusterf.host.interfaces import first_ipv4_address
from clusterf.ipvs.netlink.channel import Channel
from clusterf.ipvs.netlink.daemons import DaemonCommand, decode_daemon, encode_daemon, encode_role
from clusterf.ipvs.netlink.family import find_family
from clusterf.ipvs.sync import SyncDaemon, SyncRole, start_command, stop_command
from clusterf.lib.store import Store
from clusterf.reconcile.record import Record

__all__ = ["DaemonPlace", "Daemons", "SyncDaemonKeeper", "sync_keepers"]

log = logging.getLogger(__name__)

_DEADLINE = 10.0  # seconds for an exchange with the kernel

# why a command about a daemon fails, as start_sync_thread in net/netfilter/ipvs/ip_vs_sync.c has it
_REASONS: Final = {
    errno.ENODEV: "there is no such interface",
    errno.EADDRNOTAVAIL: "the interface has no IPv4 address",
    errno.ENETUNREACH: "the interface is down",
    errno.EEXIST: "somebody else has just started one",
    errno.EINVAL: "there are real servers of another family than their virtual server's, which cannot be synchronised",
}


class DaemonPlace(NamedTuple):
    """What the kernel binds a daemon to when it starts."""

    ifindex: int
    address: str  # its first IPv4 address; "" for a backup, which needs none


class Daemons(Protocol):
    """The daemons of a kernel. Every method may raise OSError."""

    def running(self) -> Sequence[SyncDaemon]:
        """Return those that run."""

    def place(self, daemon: SyncDaemon) -> DaemonPlace:
        """Return what the daemon would be bound to if it was started now."""

    def start(self, daemon: SyncDaemon) -> None:
        """Start a daemon, while there is none of its role."""

    def stop(self, role: SyncRole) -> None:
        """Stop the daemon of that role, if there is one."""


class _Begun(msgspec.Struct, frozen=True, array_like=True):
    """What is on record of a daemon of ours."""

    daemon: SyncDaemon
    place: DaemonPlace


class SyncDaemonKeeper:
    """Keeps the daemon of one role: the one that is wanted, or with None none of ours.

    One that others have started makes way for the one that is wanted, is ours
    from then on if it is just that, and is left alone if none is wanted.
    """

    def __init__(
        self, role: SyncRole, wanted: SyncDaemon | None, record: Record, daemons: Daemons, *, noop: bool = False
    ) -> None:
        self._role = role
        self._wanted = wanted
        self._record = record
        self._daemons = daemons
        self._noop = noop
        # what has been said, of what is to be said once with `noop`
        self._said: set[str] = set()

    def keep(self) -> None:
        """Start and stop what has to be. Raises OSError with the reason why that cannot be done."""
        begun = self._begun()
        if self._wanted is not None:
            self._have(self._wanted, begun)
        elif begun is not None:
            if self._running() == begun.daemon:
                self._stop()
            self._remember(None)

    def _have(self, wanted: SyncDaemon, begun: _Begun | None) -> None:
        running = self._running()
        # asked for before anything is stopped: a daemon of old is better than none
        now = _Begun(wanted, self._place(wanted, begun))
        ours = begun is not None and begun.daemon == running
        if running != wanted or (ours and begun != now):
            if running is not None:
                self._explain(running, ours=ours)
                self._stop()
            self._remember(now)
            self._do(start_command(wanted), lambda: self._daemons.start(wanted))
        elif begun != now:
            self._remember(now)

    def _running(self) -> SyncDaemon | None:
        try:
            running = self._daemons.running()
        except OSError as error:
            if self._noop:
                return None
            raise OSError(f"the sync daemons cannot be read: {error.strerror or error}") from error
        return next((daemon for daemon in running if daemon.role is self._role), None)

    def _place(self, wanted: SyncDaemon, begun: _Begun | None) -> DaemonPlace:
        """Return where the daemon is to be. Raises OSError if it cannot be there."""
        if self._noop:
            return begun.place if begun is not None else DaemonPlace(0, "")
        try:
            return self._daemons.place(wanted)
        except OSError as error:
            raise _failure(start_command(wanted), error) from error

    def _stop(self) -> None:
        self._do(stop_command(self._role), lambda: self._daemons.stop(self._role))

    def _do(self, command: str, act: Callable[[], None]) -> None:
        if not self._noop:
            try:
                act()
            except OSError as error:
                raise _failure(command, error) from error
        self._say(logging.INFO, command)

    def _explain(self, running: SyncDaemon, *, ours: bool) -> None:
        """Say why a daemon is stopped to start one, unless it is only that the flags are others."""
        if running == self._wanted:
            why = "its interface or its address is not what it was when it was started"
        elif not ours:
            why = f"others have started it on {running.interface} with the syncid {running.syncid}"
            why += f" for {running.group} port {running.port}"
        else:
            return
        self._say(logging.WARNING, f"the sync daemon {self._role} is replaced: {why}")

    def _say(self, level: int, text: str) -> None:
        if self._noop and text in self._said:
            return
        self._said.add(text)
        log.log(level, "%s: %s", "ipvs noop" if self._noop else "ipvs", text)

    def _begun(self) -> _Begun | None:
        found = self._record.get(self._key)
        if found is None:
            return None
        try:
            return msgspec.json.decode(found, type=_Begun)
        except ValueError as error:
            log.error("state: a sync daemon on record is not understood, and taken to be others': %r: %s", found, error)
            self._remember(None)
            return None

    def _remember(self, begun: _Begun | None) -> None:
        if not self._noop:
            self._record.update({self._key: None if begun is None else msgspec.json.encode(begun)})

    @property
    def _key(self) -> bytes:
        return str(self._role).encode()


def _failure(command: str, error: OSError) -> OSError:
    reason = _REASONS.get(error.errno or 0) or error.strerror or error
    return OSError(f"failed: {command}: {reason}")


class _KernelDaemons:
    """The `Daemons` of this network namespace."""

    def running(self) -> list[SyncDaemon]:
        with _channel() as channel:
            return channel.dump(DaemonCommand.GET, b"", decode_daemon)

    def place(self, daemon: SyncDaemon) -> DaemonPlace:
        try:
            ifindex = socket.if_nametoindex(daemon.interface)
        except OSError as error:
            raise OSError(errno.ENODEV, os.strerror(errno.ENODEV)) from error
        # the kernel does not require an address: the master would send from another interface's, or from none
        return DaemonPlace(ifindex, first_ipv4_address(daemon.interface) if daemon.role is SyncRole.MASTER else "")

    def start(self, daemon: SyncDaemon) -> None:
        with _channel() as channel:
            channel.ask(DaemonCommand.NEW, encode_daemon(daemon), bytes)

    def stop(self, role: SyncRole) -> None:
        with _channel() as channel:
            try:
                channel.ask(DaemonCommand.DEL, encode_role(role), bytes)
            except OSError as error:
                if error.errno != errno.ESRCH:
                    raise


@contextmanager
def _channel() -> Iterator[Channel]:
    """Open a channel to IPVS: for so few requests one of its own each time. Raises OSError."""
    channel = Channel(find_family(_DEADLINE), _DEADLINE)
    try:
        yield channel
    finally:
        channel.close()


def sync_keepers(wanted: Sequence[SyncDaemon], store: Store, *, noop: bool) -> list[SyncDaemonKeeper]:
    """Return what keeps the kernel's daemons, of both roles, as those that are wanted; at most one of each."""
    record, daemons = Record(store, "sync"), _KernelDaemons()
    of = {daemon.role: daemon for daemon in wanted}
    return [SyncDaemonKeeper(role, of.get(role), record, daemons, noop=noop) for role in SyncRole]
