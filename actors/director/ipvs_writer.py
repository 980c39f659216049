"""IpvsWriter: the one writer of the kernel's IPVS table.

Level-triggered: whatever it is told only changes the table that is wanted; it
then brings the kernel's table there, a part at a time, so that news and pings
get through in between. What to write next is `clusterf.reconcile.reconciler`'s to say.

Nothing is written before all that is wanted is known. The kernel is read at
start, after an exchange that failed, and at an interval.
"""

import logging
import os
import sys
import time
from collections.abc import Callable, Sequence
from enum import Enum, auto
from itertools import islice
from typing import Any, NamedTuple

from actors.base.actor import Actor
from actors.base.process import Host
from actors.director.messages import Credit, MergedUpdate, RemovalBegun
from clusterf.config.problems import Problem, ProblemsOf
from clusterf.director.merger import RealServerWanted, VirtualServerWanted
from clusterf.ipvs import ipvsadm
from clusterf.ipvs.kernel import Kernel
from clusterf.ipvs.table import Op, Step, Table, VirtualServer
from clusterf.lib.backoff import Backoff
from clusterf.lib.jitter import jittered
from clusterf.lib.logs import Lines
from clusterf.reconcile.companions import Companions
from clusterf.reconcile.ownership import Ownership
from clusterf.reconcile.reconciler import Reconciler
from clusterf.reconcile.removal_hold import CALM, Decision, RemovalHold

__all__ = ["IpvsWriter", "Options"]

log = logging.getLogger(__name__)

PART = 500  # steps at a time: what is urgent waits for two such parts at most
READ_PART = 64  # virtual servers read again at a time
DRAIN_CHECK = 1.0  # seconds between looks at real servers that drain
DRIFT_LINES = 10  # of a log, for what others have changed


class Options(NamedTuple):
    """What the writer is to do besides. Times are in seconds."""

    noop: bool = False
    once: bool = False
    once_timeout: float = 60.0
    print_table: bool = False
    flush: bool = False
    resync_interval: float = 60.0
    removal_hold: float = 0.0


class _Self(Enum):
    """What the writer tells itself."""

    RECONCILE = auto()
    RESYNC = auto()
    RETRY = auto()
    KEEP = auto()
    CHECK_DRAINS = auto()
    CALM_OVER = auto()
    HOLD_OVER = auto()
    GIVE_UP = auto()


class IpvsWriter(Actor):
    """Keep the kernel's table equal to the one that is wanted."""

    def __init__(
        self,
        open_kernel: Callable[[], Kernel],
        open_ownership: Callable[[], Ownership],
        excluded: Callable[[VirtualServer], bool],
        options: Options,
        host: Host,
        keepers: Companions,
    ) -> None:
        super().__init__()
        self._open_kernel = open_kernel
        self._open_ownership = open_ownership
        self._excluded = excluded
        self._options = options
        self._host = host
        self._keepers = keepers
        self._keep_backoff = Backoff(initial=1, longest=options.resync_interval)
        self._prefix = "ipvs noop" if options.noop else "ipvs"
        # the subjects with fatal problems
        self._bad: set[object] = set()
        self._backoff = Backoff(initial=0.5, longest=30)
        self._guard = RemovalHold(0 if options.once else options.removal_hold)
        # whether virtual servers may go at present
        self._departures = False
        # until when the removals are held that have been reported
        self._reported: float | None = None
        # whether all that is wanted has been told once
        self._synced = False
        # why the whole table has to be read before anything is written, "" if it need not be
        self._unread = "start"
        self._flush = options.flush
        # whether the table has been written, or read for the first time, since it was last settled
        self._news = True
        # whether what `--once` asks for is done
        self._finished = False
        # what has been told to oneself and has not arrived yet
        self._due: set[_Self] = set()

    def on_start(self) -> None:
        """Open the kernel and the record of what is ours."""
        self._kernel = self._open_kernel()
        self._ownership = self._open_ownership()
        owned = self._ownership.load()
        self._reconciler = Reconciler({v: seconds for v, seconds in owned.items() if not self._excluded(v)})
        self._keepers.follow(dict.fromkeys(self._reconciler.owned, True))
        if self._options.once:
            self._tell_self(_Self.GIVE_UP, self._options.once_timeout)
        self._resync_later()

    def on_stop(self) -> None:
        """Let go of the kernel. Its table stays as it is."""
        self._kernel.close()

    def reload(self) -> None:
        """Read the kernel's table again."""
        self._read_again("reload")

    def confirm(self) -> None:
        """Let virtual servers go whose removal is held."""
        self._guard.confirm()
        self._tell_self(_Self.RECONCILE)

    def receive(self, message: Any) -> None:
        """Take in what is wanted, or do the next part of the work."""
        match message:
            case MergedUpdate():
                self._want(message)
            case _Self():
                self._due.discard(message)
                self._receive_own(message)
            case _:
                raise TypeError(f"IpvsWriter does not handle {message!r}")

    def _receive_own(self, message: _Self) -> None:
        match message:
            case _Self.RECONCILE:
                self._reconcile()
            case _Self.RESYNC:
                self._read_again("resync")
                self._resync_later()
            case _Self.RETRY:
                self._reconciler.retry()
                self._tell_self(_Self.RECONCILE)
            case _Self.KEEP:
                self._keep()
                self._record_ownership()  # with which is told what has come back meanwhile
            case _Self.CHECK_DRAINS:
                self._reconciler.check_drains()
                self._tell_self(_Self.RECONCILE)
            case _Self.CALM_OVER | _Self.HOLD_OVER:
                self._tell_self(_Self.RECONCILE)
            case _Self.GIVE_UP:
                if not self._finished:
                    log.error("--once: not applied within %g seconds, giving up", self._options.once_timeout)
                    self._host.finish(1)

    def _want(self, update: MergedUpdate) -> None:
        for item in update.items:
            match item:
                case RealServerWanted(virtual, real, settings):
                    self._reconciler.want_real(virtual, real, settings, urgent=update.urgent)
                case VirtualServerWanted(virtual, claim):
                    self._reconciler.want_virtual(virtual, claim)
                case ProblemsOf(subject, problems):
                    self._note_problems(subject, problems)
        if update.link is not None:
            self.tell_upstream(Credit(update.link))
        if not update.urgent:
            self._guard.news(time.monotonic())
        self._synced = self._synced or update.synced
        if self._synced:
            self._tell_self(_Self.RECONCILE)

    def _note_problems(self, subject: object, problems: Sequence[Problem]) -> None:
        if any(problem.fatal for problem in problems):
            self._bad.add(subject)
        else:
            self._bad.discard(subject)

    def _reconcile(self) -> None:
        if not self._synced:
            return
        try:
            self._work()
        except OSError as error:
            delay = self._backoff.next()
            log.error("ipvs: %s; reading the table again in %.1f seconds", error.strerror or error, delay)
            self._unread = self._unread or "error"
            self._tell_self(_Self.RECONCILE, delay)
            return
        held = self._reconciler.idle_but_for_departures and not self._departures
        if self._reconciler.idle or held:
            self._settled()
        else:
            self._tell_self(_Self.RECONCILE)

    def _work(self) -> None:
        """Do one part: read what has to be read, then write what is to be written first. Raises OSError."""
        if self._unread:
            self._read()
            self._record_ownership()
            self._keep()
        for virtual in list(islice(self._reconciler.failures.stale, READ_PART)):
            self._reconciler.observe_virtual(virtual, self._kernel.read_virtual(virtual))
        now = time.monotonic()
        self._departures = self._may_depart(now)
        steps = self._reconciler.next_steps(PART, now, self._kernel.connections, departures=self._departures)
        self._record_ownership()
        departed = self._reconciler.owned.take_departed()
        if departed:
            self.tell_upstream(RemovalBegun(tuple(departed)))
        if steps:
            self._news = True
            self._write(steps)
            self._record_ownership()

    def _may_depart(self, now: float) -> bool:
        """Tell whether virtual servers may go now; if not, see to it that this is asked again."""
        leaving = self._reconciler.leaving
        in_force = self._reconciler.in_force if leaving else 0  # to count them takes time
        verdict = self._guard.judge(now, in_force, leaving)
        until = self._guard.held_until
        if verdict is Decision.HELD and until is not None:
            if self._reported != until:
                log.error(
                    "ipvs: %d of %d virtual servers would go at once: held for %.0f seconds, "
                    "or until `clusterf config confirm`",
                    *(leaving, in_force, until - now),
                )
            self._tell_self(_Self.HOLD_OVER, until - now)
        elif self._reported is not None:
            log.warning("ipvs: the removal of virtual servers is no longer held")
        if verdict is Decision.WAIT:
            self._tell_self(_Self.CALM_OVER, CALM)
        self._reported = until
        return verdict is Decision.ALLOWED

    def _keep(self) -> None:
        """See to what the table needs beside it."""
        self._keepers.keep()
        if not self._keepers.lacking:
            self._keep_backoff.reset()
        self._keep_again()

    def _keep_again(self) -> None:
        """See to it again after a while, if it could not be had."""
        if self._keepers.lacking and _Self.KEEP not in self._due:
            self._tell_self(_Self.KEEP, self._keep_backoff.next())

    def _read(self) -> None:
        """Read the whole table, emptying it first if that was asked for."""
        table = self._kernel.read()
        if self._flush:
            table = self._empty(table)
        self._complete(table)
        drift = self._reconciler.observe(table)
        if self._unread in {"resync", "reload"} and drift:
            log.warning("ipvs: the table was changed by others in %d places, mending them", len(drift))
            for step in drift[:DRIFT_LINES]:
                log.warning("ipvs: what they undid: %s", ipvsadm.command(step))
        self._unread = ""

    def _complete(self, table: Table) -> None:
        """Add what is on record, and seems to be gone, but is there.

        What others remove while a table is read may hide something else from
        the reader, and what is gone is struck off the record for good.
        """
        known = table.virtuals.keys() | self._reconciler.desired.virtuals.keys()
        for virtual in set(self._reconciler.owned) - known:
            state = self._kernel.read_virtual(virtual)
            if state is not None:
                settings, reals = state
                table.virtuals[virtual], table.reals[virtual] = settings, dict(reals)

    def _empty(self, table: Table) -> Table:
        """Remove all virtual servers but those that are excluded."""
        if not any(map(self._excluded, table.virtuals)):
            self._kernel.flush()
            log.info("%s: %s", self._prefix, ipvsadm.FLUSH)
        else:
            steps = [Step(Op.REMOVE_VIRTUAL, v) for v in table.virtuals if not self._excluded(v)]
            self._log_done(steps, self._kernel.apply(steps))
        self._flush = False
        self._host.flushed()
        return self._kernel.read()

    def _write(self, steps: Sequence[Step]) -> None:
        errors = self._kernel.apply(steps)
        self._log_done(steps, errors)
        for step, error in self._reconciler.done(steps, errors):
            log.error("%s: failed: %s: %s", self._prefix, ipvsadm.command(step), os.strerror(error))

    def _log_done(self, steps: Sequence[Step], errors: Sequence[int]) -> None:
        if not log.isEnabledFor(logging.INFO):
            return
        done = (step for step, error in zip(steps, errors, strict=True) if not error)
        if lines := Lines(f"{self._prefix}: {ipvsadm.command(step)}" for step in done):
            log.info(lines)

    def _settled(self) -> None:
        """There is nothing more to do at present: wait for what failed or drains, show the table."""
        if self._reconciler.failures:
            if _Self.RETRY not in self._due:
                self._tell_self(_Self.RETRY, self._backoff.next())
        else:
            self._backoff.reset()
        if self._reconciler.draining:
            self._tell_self(_Self.CHECK_DRAINS, DRAIN_CHECK)
        if self._options.once and self._reconciler.draining:
            return
        if self._news:
            self._news = False
            self._print()
        if self._options.once:
            self._finish_once()

    def _finish_once(self) -> None:
        self._finished = True
        if self._reconciler.failures:
            log.error("--once: %d operations failed", len(self._reconciler.failures))
        self._host.finish(1 if self._reconciler.failures or self._keepers.lacking else 3 if self._bad else 0)

    def _print(self) -> None:
        if not self._options.print_table:
            return
        try:
            # what is really there, and not what we take to be there
            table = self._kernel.read()
        except OSError as error:
            log.error("ipvs: the table cannot be read to be printed: %s", error.strerror or error)
            return
        text = "".join(f"{line}\n" for line in ipvsadm.lines(table))
        try:
            sys.stdout.write(text if self._options.once else text + "\n")
            sys.stdout.flush()
        except OSError as error:
            log.error("standard output: %s; printing no more", error.strerror or error)
            self._options = self._options._replace(print_table=False)

    def _record_ownership(self) -> None:
        changes = self._reconciler.owned.take_changes()
        if changes and not self._options.noop:
            self._ownership.record(changes)
        self._keepers.follow({virtual: seconds is not None for virtual, seconds in changes.items()})
        self._keep_again()

    def _read_again(self, why: str) -> None:
        self._unread = self._unread or why
        self._tell_self(_Self.RECONCILE)

    def _resync_later(self) -> None:
        self._tell_self(_Self.RESYNC, jittered(self._options.resync_interval))

    def _tell_self(self, message: _Self, delay: float = 0.0) -> None:
        """Tell oneself, once, behind what is queued already."""
        if message in self._due:
            return
        self._due.add(message)
        if delay:
            self.tell_later(delay, message)
        else:
            self.actor_ref.tell(message)
