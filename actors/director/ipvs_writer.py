"""IpvsWriter: the one writer of the kernel's IPVS table.

Level-triggered: a message only changes the table that is desired. The writer then
brings the kernel's table there, a part at a time, so that messages and pings get
through in between. What to write next is decided by `clusterf.reconcile.reconciler`.

Nothing is written before the whole configuration is known. The kernel is read at
start, after an exchange that failed, and at an interval.
"""

import logging
import time
from collections.abc import Sequence
from enum import Enum, auto
from itertools import islice
from typing import Any, NamedTuple

from actors.base.actor import Actor
from actors.base.process import Host
from actors.director.messages import Credit, MergedUpdate
from actors.director.once import Once
from actors.director.table_printer import TablePrinter
from actors.director.table_reader import TableReader
from clusterf.config.problems import ProblemsOf
from clusterf.director.merger import RealServerWanted, VirtualServerWanted
from clusterf.ipvs.kernel import Kernel
from clusterf.ipvs.operation_log import OperationLog
from clusterf.ipvs.table import Step, VirtualServer
from clusterf.lib.addresses import IPNetwork, is_within
from clusterf.lib.backoff import Backoff
from clusterf.lib.jitter import jittered
from clusterf.lib.store import KEEP_INTERVAL
from clusterf.reconcile.companions import Companions
from clusterf.reconcile.ownership import Ownership
from clusterf.reconcile.reconciler import Reconciler

__all__ = ["IpvsWriter", "Options"]

log = logging.getLogger(__name__)

PART = 500  # steps at a time: an urgent one waits for two such parts at most
READ_PART = 64  # virtual servers that are read again at a time
DRAIN_CHECK = 1.0  # seconds between checks of real servers that drain


class Options(NamedTuple):
    """How the writer works. Times are in seconds; virtual servers with an address in `excluded` are never touched."""

    noop: bool = False
    once: bool = False
    once_timeout: float = 60.0
    print_table: bool = False
    flush: bool = False
    resync_interval: float = 60.0
    excluded: tuple[IPNetwork, ...] = ()


class _Self(Enum):
    """Messages of the writer to itself."""

    RECONCILE = auto()
    RESYNC = auto()
    KEEP_STATE = auto()
    RETRY = auto()
    KEEP_COMPANIONS = auto()
    CHECK_DRAINS = auto()
    GIVE_UP = auto()


class IpvsWriter(Actor):
    """Keep the kernel's table equal to the one that is desired."""

    def __init__(
        self, kernel: Kernel, ownership: Ownership, companions: Companions, options: Options, host: Host
    ) -> None:
        super().__init__()
        self._kernel = kernel
        self._ownership = ownership
        self._companions = companions
        self._options = options
        self._once = Once(host.finish, options.once_timeout) if options.once else None
        self._operations = OperationLog(noop=options.noop)
        self._printer = TablePrinter(kernel, host.output, enabled=options.print_table, separate=not options.once)
        self._reconciler = Reconciler({v: s for v, s in ownership.load().items() if not self._is_excluded(v)})
        self._reader = TableReader(
            *(kernel, self._reconciler, self._operations, self._is_excluded),
            host.flushed if options.flush else None,
        )
        self._backoff = Backoff(initial=0.5, longest=30)
        # whether the whole configuration has been received once
        self._synced = False
        # the messages to oneself that have not arrived yet
        self._due: set[_Self] = set()

    def on_start(self) -> None:
        """Prepare the virtual servers that are recorded as ours, and start the timers."""
        self._companions.follow(dict.fromkeys(self._reconciler.owned, True))
        if self._once is not None:
            self._tell_self(_Self.GIVE_UP, self._once.timeout)
        self._resync_later()
        self._tell_self(_Self.KEEP_STATE, KEEP_INTERVAL)

    def on_stop(self) -> None:
        """Close the record, and the kernel. Its table stays as it is."""
        self._ownership.close()
        self._printer.close()
        self._kernel.close()

    def reload(self) -> None:
        """Read the kernel's table again."""
        self._reader.request("reload")
        self._tell_self(_Self.RECONCILE)

    def receive(self, message: Any) -> None:
        """Change what is desired, or do the next part of the work."""
        match message:
            case MergedUpdate():
                self._want(message)
            case _Self():
                self._due.discard(message)
                self._receive_own(message)
            case _:
                super().receive(message)

    def _receive_own(self, message: _Self) -> None:
        match message:
            case _Self.RESYNC:
                self._reader.request("resync")
                self._resync_later()
            case _Self.RETRY:
                self._reconciler.retry()
            case _Self.CHECK_DRAINS:
                self._reconciler.check_drains()
            case _Self.KEEP_COMPANIONS:
                self._keep_companions()
                # (calls the follower, too, which may have failed)
                self._record_ownership()
                return
            case _Self.KEEP_STATE:
                self._ownership.keep()
                self._tell_self(_Self.KEEP_STATE, KEEP_INTERVAL)
                return
            case _Self.GIVE_UP:
                if self._once is not None:
                    self._once.give_up()
                return
            case _Self.RECONCILE:
                self._reconcile()
                return
        self._tell_self(_Self.RECONCILE)

    def _want(self, update: MergedUpdate) -> None:
        for item in update.items:
            match item:
                case RealServerWanted(virtual, real, settings):
                    self._reconciler.want_real(virtual, real, settings, urgent=update.urgent)
                case VirtualServerWanted(virtual, spec):
                    self._reconciler.want_virtual(virtual, spec)
                case ProblemsOf():
                    if self._once is not None:
                        self._once.note(item)
        if update.link is not None:
            self.tell_upstream(Credit(update.link))
        self._synced = self._synced or update.synced
        if self._synced:
            self._tell_self(_Self.RECONCILE)

    def _reconcile(self) -> None:
        if not self._synced:
            return
        try:
            settled = self._work()
        except OSError as error:
            delay = self._backoff.next()
            log.error("ipvs: %s: rereading the table, retrying in %.1f seconds", error.strerror or error, delay)
            self._reader.request("error")
            self._tell_self(_Self.RECONCILE, delay)
            return
        if settled:
            self._settled()
        else:
            self._tell_self(_Self.RECONCILE)

    def _work(self) -> bool:
        """Do one part: read what has to be read, then write what comes first. Raises OSError.

        Returns whether nothing is left to do at present.
        """
        if self._reader.due:
            self._reader.read()
            self._record_ownership()
            self._keep_companions()
        for virtual in list(islice(self._reconciler.failures.stale, READ_PART)):
            self._reconciler.observe_virtual(virtual, self._kernel.read_virtual(virtual))
        steps = self._reconciler.next_steps(PART, time.monotonic(), self._kernel.connections)
        self._record_ownership()
        if steps:
            self._printer.changed()
            self._write(steps)
            self._record_ownership()
        return self._reconciler.idle

    def _write(self, steps: Sequence[Step]) -> None:
        errors = self._kernel.apply(steps)
        self._operations.applied(steps, errors)
        for step, error in self._reconciler.done(steps, errors):
            self._operations.failed(step, error)

    def _settled(self) -> None:
        """Nothing is left to do at present: wait for retries and drains, print the table, end `--once`."""
        if not self._reconciler.failures:
            self._backoff.reset()
        elif _Self.RETRY not in self._due:
            self._tell_self(_Self.RETRY, self._backoff.next())
        if self._reconciler.draining:
            self._tell_self(_Self.CHECK_DRAINS, DRAIN_CHECK)
            if self._once is not None:
                return
        self._printer.print()
        if self._once is not None:
            complete = not self._companions.failing and not self._printer.failed
            self._once.applied(len(self._reconciler.failures), complete=complete)

    def _keep_companions(self) -> None:
        self._companions.keep()
        self._retry_companions()

    def _retry_companions(self) -> None:
        if self._companions.failing and _Self.KEEP_COMPANIONS not in self._due:
            self._tell_self(_Self.KEEP_COMPANIONS, self._companions.retry_delay())

    def _record_ownership(self) -> None:
        changes = self._reconciler.owned.take_changes()
        if changes and not self._options.noop:
            self._ownership.record(changes)
        self._companions.follow({virtual: seconds is not None for virtual, seconds in changes.items()})
        self._retry_companions()

    def _resync_later(self) -> None:
        self._tell_self(_Self.RESYNC, jittered(self._options.resync_interval))

    def _is_excluded(self, virtual: VirtualServer) -> bool:
        return is_within(virtual.address, self._options.excluded)

    def _tell_self(self, message: _Self, delay: float = 0.0) -> None:
        """Queue a message to oneself, unless it is queued already; `delay` is in seconds."""
        if message in self._due:
            return
        self._due.add(message)
        if delay:
            self.tell_later(delay, message)
        else:
            self.actor_ref.tell(message)
