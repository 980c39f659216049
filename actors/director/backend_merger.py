"""BackendMerger: from claims, members and verdicts to wanted virtual and real servers.

Verdicts come over a link from each health process. What is known of them stays
while such a process is away: no verdict is taken for lost before its successor
has told all that it knows.
"""

import logging
from collections.abc import Callable, Sequence
from enum import Enum, auto
from itertools import islice
from pathlib import Path
from typing import Any

import pykka

from actors.base.actor import Actor
from actors.base.messages import Upstream
from actors.director.messages import Credit, MergedUpdate, RemovalBegun, ResolvedUpdate
from actors.link.messages import Received, Synced, VerdictIs
from actors.link.subscription import Subscription
from clusterf.config.problems import ProblemsOf
from clusterf.director.merger import Merged, Merger
from clusterf.director.rotation import PanicMode, Rotation
from clusterf.ipvs.table import Table
from clusterf.lib.text import escape

__all__ = ["BackendMerger"]

log = logging.getLogger(__name__)

_SHOWN = 10  # of many backends


class _Self(Enum):
    """What the merger tells itself."""

    ENOUGH = auto()


class BackendMerger(Actor):
    """Merge what is resolved, and what the health processes at the sockets `health` say, and tell `writer`.

    Without `health` all backends count in full. `in_force` reads the table that
    the kernel has before anything is written. `patience`: for so many seconds
    nothing is whole before every backend that is checked has a verdict; None:
    that is not waited for.
    """

    def __init__(
        self,
        writer: pykka.ActorRef[Any],
        *,
        elide: bool,
        health: Sequence[Path] = (),
        in_force: Callable[[], Table] = Table,
        patience: float | None = None,
    ) -> None:
        super().__init__()
        self._standings = Rotation(in_force)
        self._merger = Merger(elide=elide, standings=self._standings if health else None)
        self._writer = writer
        self._patience = patience
        subscriptions = [Subscription(socket, self.actor_ref.tell) for socket in health]
        self._subscriptions = {subscription.name: subscription for subscription in subscriptions}
        # the links of health processes that have not told all they know once
        self._awaited = set(self._subscriptions)
        # whether the configuration has been told as a whole once, and whether everything has
        self._configured = False
        self._whole = False

    def on_start(self) -> None:
        """Begin to receive verdicts."""
        self._writer.tell(Upstream(self.actor_ref))
        for subscription in self._subscriptions.values():
            subscription.start()
        if self._patience is not None:
            self.tell_later(self._patience, _Self.ENOUGH)

    def on_stop(self) -> None:
        """Hang up."""
        for subscription in self._subscriptions.values():
            subscription.stop()

    def receive(self, message: Any) -> None:
        """Merge what was resolved, or what the probes have shown."""
        match message:
            case ResolvedUpdate():
                self._configure(message)
            case Received():
                self._judge(message)
            case _Self.ENOUGH:
                self._go_without()
            case Credit(link):
                self._give_back(link)
            case RemovalBegun(virtuals):
                for virtual in virtuals:
                    self._standings.forget_departed(virtual)
            case _:
                raise TypeError(f"BackendMerger does not handle {message!r}")

    def _give_back(self, link: str) -> None:
        if link in self._subscriptions:
            self._subscriptions[link].acknowledge()
        else:
            self.tell_upstream(Credit(link))

    def _configure(self, update: ResolvedUpdate) -> None:
        already_logged = {item for item in update.items if isinstance(item, ProblemsOf)}
        for item in update.items:
            self._merger.update(item)
        self._configured = self._configured or update.synced
        merged = self._merge()
        for result in merged:
            if isinstance(result, ProblemsOf) and result not in already_logged:
                for problem in result.problems:
                    log.warning("%s", problem)
        self._tell_writer(merged, update.link, urgent=False)

    def _judge(self, received: Received) -> None:
        urgent = self._whole  # before that all waits for the first time that anything is written
        for message in received.messages:
            match message:
                case Synced():
                    self._awaited.discard(received.link)
                case VerdictIs(key, value):
                    self._standings.put_verdict(*key, value.up if value is not None else None)
                case _:
                    raise TypeError(f"a health process does not say {message!r}")
        self._tell_writer(self._merge(), received.link, urgent=urgent)

    def _go_without(self) -> None:
        """Wait for verdicts no longer: who has none is as the kernel and its check have it."""
        self._patience = None
        if self._whole or not self._configured or self._awaited:
            return
        log.warning("health: %d backends have no verdict yet: going on without", self._standings.unknown)
        for line in islice(self._standings.undecided(), _SHOWN):
            log.warning("health: no verdict yet: %s", line)
        self._tell_writer(self._merge(), None, urgent=False)

    def _merge(self) -> list[Merged]:
        results = list(self._merger.flush())
        waits = self._patience is not None and self._standings.unknown
        if not self._whole and self._configured and not self._awaited and not waits:
            self._whole = True
            self._standings.begin()
            results += self._merger.flush()
        merged: list[Merged] = []
        for result in results:
            if isinstance(result, PanicMode):
                _log_panic(result)
            else:
                merged.append(result)
        return merged

    def _tell_writer(self, merged: list[Merged], link: str | None, *, urgent: bool) -> None:
        self._writer.tell(MergedUpdate(tuple(merged), self._whole, link, urgent))


def _log_panic(now: PanicMode) -> None:
    service, family = escape(now.service), now.family.name.lower()
    if now.panic:
        log.error(
            "health: service %s: %d of %d backends (%s) are down, less than its panic_threshold of %g %% are left: "
            "health is ignored for it",
            *(service, now.down, now.total, family, now.threshold),
        )
    else:
        log.warning(
            "health: service %s: %d of %d backends (%s) are down: health counts again",
            *(service, now.down, now.total, family),
        )
