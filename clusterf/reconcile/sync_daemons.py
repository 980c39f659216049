"""Keeps the kernel's sync daemons running as the settings want them.

A daemon stays bound to the interface that was there when it started. When that goes and
comes back as another one, or when the address goes from which the master sends,
the kernel neither stops the daemon nor reports it. So both are recorded with the daemon.
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
from clusterf.ipvs.operation_log import log_prefix
from clusterf.ipvs.sync import SyncDaemon, SyncRole, start_command, stop_command
from clusterf.lib.log_once import LogOnce
from clusterf.lib.store import Store
from clusterf.reconcile.record import Record

__all__ = ["DaemonBinding", "Daemons", "SyncDaemonKeeper", "sync_keepers"]

log = logging.getLogger(__name__)

_DEADLINE = 10.0  # seconds for an exchange with the kernel

# what the errors of start_sync_thread in net/netfilter/ipvs/ip_vs_sync.c mean
_REASONS: Final = {
    errno.ENODEV: "there is no such interface",
    errno.EADDRNOTAVAIL: "the interface has no IPv4 address",
    errno.ENETUNREACH: "the interface is down",
    errno.EEXIST: "one was just started outside clusterf",
    errno.EINVAL: "there are real servers of another family than their virtual server's, which cannot be synchronised",
}


class DaemonBinding(NamedTuple):
    """What the kernel binds a daemon to when it starts."""

    ifindex: int
    address: str  # its first IPv4 address; "" for a backup, which does not send


class Daemons(Protocol):
    """The daemons of a kernel. Every method may raise OSError."""

    def running(self) -> Sequence[SyncDaemon]:
        """Return the daemons that run."""

    def binding(self, daemon: SyncDaemon) -> DaemonBinding:
        """Return what the daemon would be bound to if it were started now."""

    def start(self, daemon: SyncDaemon) -> None:
        """Start a daemon, while there is none of its role."""

    def stop(self, role: SyncRole) -> None:
        """Stop the daemon of that role, if there is one."""


class _Started(msgspec.Struct, frozen=True, array_like=True):
    """What is recorded of a daemon of ours."""

    daemon: SyncDaemon
    binding: DaemonBinding


class SyncDaemonKeeper:
    """The `Companion` that keeps the daemon of one role: the one that is wanted, or with None none of ours.

    One that was started outside clusterf is replaced by the one that is wanted, becomes
    ours if it equals that, and is left alone if none is wanted.
    """

    def __init__(
        self, role: SyncRole, wanted: SyncDaemon | None, record: Record, daemons: Daemons, *, noop: bool = False
    ) -> None:
        self._role = role
        self._wanted = wanted
        self._record = record
        self._daemons = daemons
        self._noop = noop
        self._prefix = log_prefix(noop=noop)
        self._would_do = LogOnce(log)

    def keep(self) -> None:
        """Start and stop the daemon as needed. Raises OSError with the reason if that cannot be done."""
        started = self._started()
        if self._wanted is not None:
            self._run(self._wanted, started)
        elif started is not None:
            if self._running() == started.daemon:
                self._stop()
            self._save(None)

    def _run(self, wanted: SyncDaemon, started: _Started | None) -> None:
        running = self._running()
        # before anything is stopped: the old daemon is better than none
        now = _Started(wanted, self._binding(wanted, started))
        ours = started is not None and started.daemon == running
        if running != wanted or (ours and started != now):
            if running is not None:
                self._explain(running, ours=ours)
                self._stop()
            self._save(now)
            self._do(start_command(wanted), lambda: self._daemons.start(wanted))
        elif started != now:
            self._save(now)

    def _running(self) -> SyncDaemon | None:
        try:
            running = self._daemons.running()
        except OSError as error:
            if self._noop:
                return None
            raise OSError(f"the sync daemons cannot be read: {error.strerror or error}") from error
        return next((daemon for daemon in running if daemon.role is self._role), None)

    def _binding(self, wanted: SyncDaemon, started: _Started | None) -> DaemonBinding:
        if self._noop:
            return started.binding if started is not None else DaemonBinding(0, "")
        try:
            return self._daemons.binding(wanted)
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
        self._log(logging.INFO, command)

    def _explain(self, running: SyncDaemon, *, ours: bool) -> None:
        """Log why the running daemon is replaced, unless only the flags have changed."""
        if running == self._wanted:
            reason = "its interface or address has changed since it was started"
        elif not ours:
            details = f"syncid {running.syncid}, group {running.group}, port {running.port}"
            reason = f"started outside clusterf on {running.interface} ({details})"
        else:
            return
        self._log(logging.WARNING, f"sync daemon {self._role}: {reason}, replacing it")

    def _log(self, level: int, text: str) -> None:
        if self._noop:
            self._would_do.log(text, "%s: %s", self._prefix, text, level=level)
        else:
            log.log(level, "%s: %s", self._prefix, text)

    def _started(self) -> _Started | None:
        found = self._record.get(self._key)
        if found is None:
            return None
        try:
            return msgspec.json.decode(found, type=_Started)
        except ValueError as error:
            log.error("state: invalid record of a sync daemon, taken as started outside clusterf: %r: %s", found, error)
            self._save(None)
            return None

    def _save(self, started: _Started | None) -> None:
        if not self._noop:
            self._record.update({self._key: None if started is None else msgspec.json.encode(started)})

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

    def binding(self, daemon: SyncDaemon) -> DaemonBinding:
        try:
            ifindex = socket.if_nametoindex(daemon.interface)
        except OSError as error:
            raise OSError(errno.ENODEV, os.strerror(errno.ENODEV)) from error
        # the kernel does not require an address: the master would send from another interface's, or from none
        return DaemonBinding(ifindex, first_ipv4_address(daemon.interface) if daemon.role is SyncRole.MASTER else "")

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
    """Open a channel to IPVS for one request. Raises OSError."""
    channel = Channel(find_family(_DEADLINE), _DEADLINE)
    try:
        yield channel
    finally:
        channel.close()


def sync_keepers(wanted: Sequence[SyncDaemon], store: Store, *, noop: bool) -> list[SyncDaemonKeeper]:
    """Return the keepers of both roles; `wanted` has at most one daemon of each."""
    record, daemons = Record(store, "sync"), _KernelDaemons()
    of = {daemon.role: daemon for daemon in wanted}
    return [SyncDaemonKeeper(role, of.get(role), record, daemons, noop=noop) for role in SyncRole]
