"""BackendMerger: from claims, members and verdicts to wanted virtual and real servers.

Verdicts come over a link from each health process. They stay in force while
that process is away, until its successor has published all that it knows. What leaves
the configuration is kept until it may go (`clusterf.director.retention`).
"""

import logging
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from enum import Enum, auto
from itertools import islice
from math import inf
from types import MappingProxyType
from typing import Any

import pykka

from actors.base.actor import Actor
from actors.base.messages import Upstream
from actors.director.found_table import FoundTable, logging_errors
from actors.director.messages import Credit, MergedUpdate, ResolvedUpdate
from actors.link.links import Links
from actors.link.messages import Pulse, Received, Synced, VerdictIs, VerdictWireMessage
from actors.link.subscription import Subscription
from clusterf.config.problems import ProblemsOf
from clusterf.director.merger import Merged, Merger
from clusterf.director.pools import PanicMode
from clusterf.director.readiness import Readiness
from clusterf.director.removal_hold import HoldPolicy
from clusterf.director.retention import Retention
from clusterf.director.rotation import Rotation
from clusterf.director.unproven import Proving
from clusterf.ipvs.table import Table, VirtualServer, VirtualServerState
from clusterf.lib.punctual import PunctualTimer
from clusterf.lib.text import escape
from clusterf.reconcile.hold_record import HoldRecord
from clusterf.reconcile.kept_record import KeptRecord
from clusterf.reconcile.lapse_record import LapseRecord
from clusterf.sources.doubt import DoubtKind

__all__ = ["BackendMerger"]

log = logging.getLogger(__name__)

_LONGEST_FRAME = 1 << 24  # bytes; a publisher's are shorter, and a health process may be taken over
_SHOWN = 10  # backends that a log line each is spent on


class _Self(Enum):
    """The merger's messages to itself."""

    PATIENCE_OVER = auto()
    SILENCE_OVER = auto()
    RELEASE = auto()
    READ = auto()


class BackendMerger(Actor):
    """Tells `writer` what follows from the resolved configuration and from the verdicts on the links called `health`.

    Without `health` all backends are in rotation. `in_force` reads the table
    that the kernel has before anything is written, `find` one virtual server later. `ours`
    are the virtual servers in it that are recorded as ours, with the seconds that their
    real servers may drain; None: the table is emptied first. With `patience`, updates are
    complete (`synced`) only when each checked backend has a verdict, or after so
    many seconds; None: verdicts are not awaited. A health process that does not report its verdicts within `silence`
    seconds after the configuration is complete is awaited no longer; None: it is. `hold` None: what leaves
    the configuration is removed at once.
    `lapses` records what stays out of rotation without a check, `held` until when removals are held, `kept` what
    is kept though it is not configured.
    """

    def __init__(
        self,
        writer: pykka.ActorRef[Any],
        links: Links,
        *,
        elide: bool,
        health: Sequence[str] = (),
        in_force: Callable[[], Table] = Table,
        find: Callable[[VirtualServer], VirtualServerState | None] = lambda _virtual: None,
        ours: Mapping[VirtualServer, float] | None = MappingProxyType({}),
        patience: float | None = None,
        silence: float | None = None,
        hold: HoldPolicy | None = None,
        lapses: LapseRecord | None = None,
        held: HoldRecord | None = None,
        kept: KeptRecord | None = None,
    ) -> None:
        super().__init__()
        # what was found in the kernel, until all is synced; messages wait until it is known
        self._found = FoundTable(in_force)
        self._waiting: deque[ResolvedUpdate | Received] = deque()
        self._ours = ours
        self._rotation = Rotation(lambda: self._found.table)
        self._retention = Retention(hold, logging_errors(find))
        rotation = self._rotation if health else None
        self._merger = Merger(elide=elide, rotation=rotation, in_force=self._retention)
        self._lapses = lapses or LapseRecord()
        self._held = held or HoldRecord()
        self._kept = kept or KeptRecord()
        self._writer = writer
        self._readiness = Readiness(health, patient=patience is not None)
        self._patience, self._silence = patience, silence
        subscriptions = [
            Subscription(name, links, self.actor_ref.tell, carries=VerdictWireMessage, longest=_LONGEST_FRAME)
            for name in health
        ]
        self._subscriptions = {subscription.name: subscription for subscription in subscriptions}
        # when each health process ran last, as far as that is known
        self._probed: dict[str, float] = {}
        # whether all was known once, and whether the operator confirmed something before
        self._synced = False
        self._confirmed = False
        self._timer = PunctualTimer(lambda seconds: self.tell_later(seconds, _Self.RELEASE))

    def on_start(self) -> None:
        """Begin to receive verdicts."""
        self._writer.tell(Upstream(self.actor_ref))
        for subscription in self._subscriptions.values():
            subscription.start()
        if self._patience is not None:
            self.tell_later(self._patience, _Self.PATIENCE_OVER)

    def on_stop(self) -> None:
        """Close the links."""
        for subscription in self._subscriptions.values():
            subscription.stop()

    def receive(self, message: Any) -> None:
        """Merge resolved configuration or verdicts, or take what flows back from the writer."""
        match message:
            case ResolvedUpdate() | Received():
                self._waiting.append(message)
                self._take()
            case _Self.READ:
                self._take()
            case _Self.PATIENCE_OVER:
                self._readiness.lose_patience()
                self._report_silent("not applying the configuration")
                self._start_without_verdicts()
            case _Self.SILENCE_OVER:
                self._start_without_silent()
            case Credit(link) if link in self._subscriptions:
                self._subscriptions[link].acknowledge()
            case Credit():
                self.tell_upstream(message)
            case _Self.RELEASE:
                if self._timer.expired(time.monotonic()):
                    self._update(None, urgent=False)
            case _:
                super().receive(message)

    def confirm(self) -> None:
        """Have the removals done that are held, or will be at the start."""
        self._confirmed = not self._synced
        self._retention.confirm(time.monotonic())
        if self._synced:
            self._kept.save(self._retention.kept)
        self._release()

    def _take(self) -> None:
        """Handle the messages that have come, as soon as it is known what was in force at the start."""
        if delay := self._found.awaited():
            self.tell_later(delay, _Self.READ)
            return
        while self._waiting:
            message = self._waiting.popleft()
            if isinstance(message, Received):
                self._judge(message)
            else:
                self._configure(message)

    def _configure(self, update: ResolvedUpdate) -> None:
        already_logged = {item for item in update.items if isinstance(item, ProblemsOf)}
        for item in update.items:
            self._merger.update(item)
        if update.synced and self._readiness.configured() and self._silence is not None:
            self.tell_later(self._silence, _Self.SILENCE_OVER)
        hold = self._retention.hold
        if update.pulse is not None:
            hold.alive(time.monotonic(), update.pulse)
        if update.pulse is not None and not (update.items or update.doubts):
            if not self._waits and update.link is not None:
                self.tell_upstream(Credit(update.link))
                return
        else:
            hold.changed(time.monotonic())
        hold.complete(update.complete)
        hold.doubt(update.link, "more follows" if update.partial else None, passing=True)
        for doubt in update.doubts:
            if doubt.key.kind is DoubtKind.UNKNOWN:
                self._retention.doubt_found(doubt.key.source, doubt.value, time.monotonic())
            else:
                hold.doubt(doubt.key, doubt.value, passing=doubt.key.kind is DoubtKind.CHANGE)
        for result in self._update(update.link, urgent=False):
            if isinstance(result, ProblemsOf) and result not in already_logged:
                for problem in result.problems:
                    log.warning("%s", problem)

    def _judge(self, received: Received) -> None:
        if all(isinstance(message, Pulse) for message in received.messages) and not self._waits:
            self._probed[received.link] = time.monotonic()
            self._subscriptions[received.link].acknowledge()
            return
        urgent = self._synced  # before that, nothing is written at all
        for message in received.messages:
            match message:
                case Synced():
                    if self._readiness.judged(received.link):
                        log.info("health: process %s has reported its verdicts", received.link)
                case Pulse():
                    self._probed[received.link] = time.monotonic()
                case VerdictIs(key, verdict):
                    refused = verdict is not None and verdict.up is None
                    self._rotation.put_verdict(*key, verdict.up if verdict is not None else None, refused=refused)
                case _:
                    raise TypeError(f"a health process does not publish {message!r}")
        self._update(received.link, urgent=urgent)

    @property
    def _waits(self) -> bool:
        """Whether something is to be done at some time, as far as other processes run until then."""
        return not self._synced or self._merger.due is not None or self._retention.waits

    def _start_without_silent(self) -> None:
        """Await no longer what health processes do not report: it is as if they knew no verdict."""
        silent = self._readiness.silent
        self._report_silent("starting without them")
        self._readiness.waive()
        # what waits for health processes to run does so for these, too
        self._probed = dict.fromkeys(silent, time.monotonic()) | self._probed
        if silent:
            self._start_without_verdicts()

    def _report_silent(self, consequence: str) -> None:
        """Name the health processes that have known the configuration, and report nothing."""
        for name in self._readiness.silent if self._readiness.is_configured else ():
            log.error("health: process %s does not report its verdicts: %s", name, consequence)

    def _start_without_verdicts(self) -> None:
        """Begin without the verdicts that nobody has: a backend is as in the kernel, or as its `initial` says."""
        if self._synced or not self._readiness.is_ready(self._rotation.unknown):
            return
        log.warning("health: starting without verdicts on %d backends", self._rotation.unknown)
        for service, backend, endpoint in islice(self._rotation.awaited(), _SHOWN):
            log.warning("health: no verdict yet: %s", f"{escape(service)}/{escape(backend)}: {endpoint}")
        self._update(None, urgent=False)

    def _update(self, link: str | None, *, urgent: bool) -> list[Merged]:
        """Send the writer what has changed, because of a frame of `link`, and return it."""
        now = time.monotonic()
        self._rotation.limit(self._retention.hold.known(now))
        items = list(self._retention.take(self._flush(now), now))
        if not self._synced and self._readiness.is_ready(self._rotation.unknown):
            items += self._begin(now)
        if self._synced:
            self._kept.save(self._retention.kept)
        self._writer.tell(MergedUpdate(tuple(items), self._synced, link, urgent))
        if self._synced:
            # only now, as a disk may be slow
            self._lapses.update(self._rotation.standing())
        self._release()
        return items

    def _begin(self, now: float) -> list[Merged]:
        """All is complete: from now on what is in force counts, not what was found in the kernel."""
        self._synced = True
        self._rotation.begin()
        reals = self._found.table.reals
        self._merger.begin(lambda virtual, real: reals.get(virtual, {}).get(real))
        self._merger.resume(self._lapses.load(), now)
        if (until := self._held.load()) is not None:
            self._retention.hold.resume(now, until)
        if self._confirmed:
            self._retention.confirm(now)
        items = list(self._retention.take(self._flush(now), now))
        found, ours = (self._found.table, self._ours) if self._ours is not None else (Table(), {})
        items += self._retention.begin(found, ours, now, self._kept.load())
        self._found.forget()
        self._ours = None
        return items

    def _release(self) -> None:
        """Have what may leave now removed, and this done again in time."""
        now = time.monotonic()
        if not self._synced or self._timer.waits(now):
            return
        removals = tuple(self._retention.release(now, self._proving))
        self._held.save(self._retention.hold.until)
        if removals:
            self._writer.tell(MergedUpdate(removals, self._synced))
        delay = self._retention.due(now, self._proving)
        # (what is due, and was not released, waits for a sign that another process runs)
        moments = [now + delay] if delay and delay != inf else []
        moments += [due for due in [self._merger.due] if due is not None and due > now]
        if moments:
            self._timer.set(min(moments), now)

    def _proving(self, virtual: VirtualServer, now: float) -> Proving:
        """Tell how it stands with unproven backends, whose time runs only while health processes do."""
        return self._merger.proving(virtual, min([now, *self._probed.values()]))

    def _flush(self, now: float) -> list[Merged]:
        merged: list[Merged] = []
        for result in self._merger.flush(now):
            if isinstance(result, PanicMode):
                _log_panic(result)
            else:
                merged.append(result)
        return merged


def _log_panic(now: PanicMode) -> None:
    subject = f"health: service {escape(now.service)}: {now.down} of {now.total} backends ({now.family.name.lower()})"
    if now.panic:
        log.error("%s are down, fewer than panic_threshold (%g %%) are up: ignoring health", subject, now.threshold)
    else:
        log.warning("%s are down: health applies again", subject)
