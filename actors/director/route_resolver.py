"""RouteResolver: from the configuration link to claims and members."""

import logging
from enum import Enum, auto
from typing import Any

import pykka

from actors.base.actor import Actor
from actors.base.messages import Upstream
from actors.director.messages import Credit, ResolvedUpdate
from actors.link.links import Links
from actors.link.messages import (
    AuthoritiesAre,
    ConfigWireMessage,
    DoubtIs,
    ProblemsAre,
    Pulse,
    Received,
    Synced,
    ValueIs,
)
from actors.link.published import FRAME
from actors.link.subscription import Subscription
from actors.settings import CONFIG
from clusterf.config.keys import parse_key
from clusterf.config.problems import ProblemsOf
from clusterf.resolve.resolver import Resolver
from clusterf.resolve.virtual_servers import Defaults

__all__ = ["RouteResolver"]

log = logging.getLogger(__name__)


class _Self(Enum):
    """The resolver's messages to itself."""

    LOST = auto()


class RouteResolver(Actor):
    """Resolves the configuration on the link of the config process, and tells `merger` the results."""

    def __init__(self, links: Links, defaults: Defaults, merger: pykka.ActorRef[Any]) -> None:
        super().__init__()
        self._subscription = Subscription(
            CONFIG, links, self.actor_ref.tell, carries=ConfigWireMessage, lost=self._tell_lost
        )
        self._resolver = Resolver(defaults)
        self._merger = merger
        # whether the configuration was complete once, and whether it is now
        self._synced = False
        self._complete = False

    def on_start(self) -> None:
        """Begin to receive the configuration."""
        self._merger.tell(Upstream(self.actor_ref))
        self._subscription.start()

    def on_stop(self) -> None:
        """Close the link."""
        self._subscription.stop()

    def receive(self, message: Any) -> None:
        """Resolve a frame of the configuration, or give back its credit."""
        match message:
            case Received():
                self._resolve(message)
            case _Self.LOST:
                self._complete = False
                self._merger.tell(ResolvedUpdate((), self._synced, None, complete=False))
            case Credit():
                self._subscription.acknowledge()
            case _:
                super().receive(message)

    def _resolve(self, received: Received) -> None:
        problems, doubts = [], []
        pulse: float | None = None
        for message in received.messages:
            match message:
                case Synced():
                    self._synced = self._complete = True
                case ValueIs(key, value):
                    self._resolver.update(key, value)
                case ProblemsAre(key, value):
                    problems.append(ProblemsOf(key, value))
                    if (concerned := parse_key(key.path)) is not None:
                        self._resolver.note(concerned, key.source, invalid=any(problem.fatal for problem in value))
                case DoubtIs():
                    doubts.append(message)
                case Pulse(known):
                    pulse = known
                case AuthoritiesAre():
                    pass  # for probes
                case _:
                    raise TypeError(f"the config process does not publish {message!r}")
        resolved = list(self._resolver.flush())
        for item in resolved:
            if isinstance(item, ProblemsOf):
                for problem in item.problems:
                    log.warning("%s", problem)
        partial = len(received.messages) >= FRAME
        items = (*problems, *resolved)
        self._merger.tell(
            ResolvedUpdate(items, self._synced, received.link, tuple(doubts), partial, self._complete, pulse)
        )

    def _tell_lost(self) -> None:
        self.actor_ref.tell(_Self.LOST)
