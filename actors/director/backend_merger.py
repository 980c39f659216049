"""BackendMerger: from claims, members and verdicts to wanted virtual and real servers.

Verdicts come over a link from each health process. They stay in force while
that process is away, until its successor has published all that it knows.
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

_SHOWN = 10  # backends that a log line each is spent on


class _Self(Enum):
    """The merger's messages to itself."""

    PATIENCE_OVER = auto()


class BackendMerger(Actor):
    """Tells `writer` what follows from the resolved configuration and from the verdicts on the links `health`.

    Without `health` all backends are in rotation. `in_force` reads the table
    that the kernel has before anything is written. With `patience`, updates are
    complete (`synced`) only when each checked backend has a verdict, or after so
    many seconds; None: verdicts are not awaited.
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
        self._rotation = Rotation(in_force)
        self._merger = Merger(elide=elide, rotation=self._rotation if health else None)
        self._writer = writer
        self._patience = patience
        subscriptions = [Subscription(socket, self.actor_ref.tell) for socket in health]
        self._subscriptions = {subscription.name: subscription for subscription in subscriptions}
        # the links of health processes that have not been synced once
        self._awaited = set(self._subscriptions)
        # whether the configuration was complete once, and whether it was together with the verdicts
        self._configured = False
        self._synced = False

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
            case ResolvedUpdate():
                self._configure(message)
            case Received():
                self._judge(message)
            case _Self.PATIENCE_OVER:
                self._start_without_verdicts()
            case Credit(link) if link in self._subscriptions:
                self._subscriptions[link].acknowledge()
            case Credit():
                self.tell_upstream(message)
            case RemovalBegun(virtuals):
                for virtual in virtuals:
                    self._rotation.forget_departed(virtual)
            case _:
                super().receive(message)

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
        urgent = self._synced  # before that, nothing is written at all
        for message in received.messages:
            match message:
                case Synced():
                    self._awaited.discard(received.link)
                case VerdictIs(key, verdict):
                    self._rotation.put_verdict(*key, verdict.up if verdict is not None else None)
                case _:
                    raise TypeError(f"a health process does not publish {message!r}")
        self._tell_writer(self._merge(), received.link, urgent=urgent)

    def _start_without_verdicts(self) -> None:
        """Await verdicts no longer: a backend without one is as in the kernel, or as its check's `initial` says."""
        self._patience = None
        if self._synced or not self._configured or self._awaited:
            return
        log.warning("health: starting without verdicts on %d backends", self._rotation.unknown)
        for line in islice(self._rotation.undecided(), _SHOWN):
            log.warning("health: no verdict yet: %s", line)
        self._tell_writer(self._merge(), None, urgent=False)

    def _merge(self) -> list[Merged]:
        results = list(self._merger.flush())
        waiting = self._patience is not None and self._rotation.unknown
        if not self._synced and self._configured and not self._awaited and not waiting:
            self._synced = True
            self._rotation.begin()
            results += self._merger.flush()
        merged: list[Merged] = []
        for result in results:
            if isinstance(result, PanicMode):
                _log_panic(result)
            else:
                merged.append(result)
        return merged

    def _tell_writer(self, merged: list[Merged], link: str | None, *, urgent: bool) -> None:
        self._writer.tell(MergedUpdate(tuple(merged), self._synced, link, urgent))


def _log_panic(now: PanicMode) -> None:
    subject = f"health: service {escape(now.service)}: {now.down} of {now.total} backends ({now.family.name.lower()})"
    if now.panic:
        log.error("%s are down, fewer than panic_threshold (%g %%) are up: ignoring health", subject, now.threshold)
    else:
        log.warning("%s are down: health applies again", subject)
