"""HealthChecker: probes the backends of one shard, and publishes the verdicts.

It subscribes to the configuration, which says what to probe, and publishes one
verdict for each backend and endpoint. `clusterf.health.watch_list` decides what
to probe, `clusterf.health.monitor` when, and what follows from the results;
`clusterf.health.probes` has the probes. All of it runs in one thread, in the
event loop of the actor.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

from actors.base.asyncio_actor import AsyncioActor
from actors.health.probing import Probing
from actors.health.verdict_output import VerdictOutput
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
from actors.link.publisher import Publisher
from actors.link.subscription import Subscription
from actors.settings import CONFIG
from clusterf.config.keys import parse_key
from clusterf.config.model import RouteKey, VipKey
from clusterf.health.monitor import Monitor
from clusterf.health.references import ProbeStarter
from clusterf.health.targets import Targets
from clusterf.health.verdict_store import VerdictStore
from clusterf.health.watch_list import WatchList
from clusterf.lib.addresses import Endpoint

__all__ = ["HealthChecker"]

log = logging.getLogger(__name__)

PART = 500  # changed backends that are processed at a time, so that probes and pings get their turn in between


class HealthChecker(AsyncioActor):
    """Keep verdicts on `targets`, and publish them on the link called `name`.

    The `references` tell an outage of this node's network from one of the targets.
    """

    def __init__(
        self,
        name: str,
        links: Links,
        targets: Targets,
        references: Sequence[Endpoint],
        open_store: Callable[[], VerdictStore],
        new_prober: Callable[[asyncio.AbstractEventLoop], ProbeStarter],
    ) -> None:
        super().__init__()
        self._subscription = Subscription(CONFIG, links, self.actor_ref.tell, carries=ConfigWireMessage)
        self._publisher = Publisher(name, links)
        self._watch_list = WatchList(targets, Monitor(references=bool(references)))
        self._references = references
        self._open_store = open_store
        self._new_prober = new_prober
        # whether the whole configuration has been received, and whether it has been applied
        self._synced = False
        self._applied = False
        # whether a `_NextPart` is in this actor's inbox
        self._continuing = False

    def on_start(self) -> None:
        """Restore the stored verdicts, and subscribe to the configuration."""
        super().on_start()
        prober = self._new_prober(self.loop)
        store = self._open_store()
        self._watch_list.restore(store.load())
        self._output = VerdictOutput(self.loop, self._watch_list, self._publisher, store)
        self._probing = Probing(
            self.loop, self._watch_list.monitor, prober, self._references, self._output.add_transitions
        )
        self._output.keep()
        self._publisher.start()
        self._output.pulse()
        self._subscription.start()

    def on_stop(self) -> None:
        """Close the links; subscribers keep the last verdicts."""
        self._subscription.stop()
        self._publisher.stop()
        self._probing.close()
        super().on_stop()
        self._output.close()

    def receive(self, message: Any) -> None:
        """Process a part of the configuration that was received, or the next part of what it changes."""
        match message:
            case Received():
                self._update(message)
            case _NextPart():
                self._continuing = False
                self._apply_part()
            case _:
                super().receive(message)

    def _update(self, received: Received) -> None:
        for message in received.messages:
            match message:
                case Synced():
                    self._synced = True
                case DoubtIs() | Pulse() | ValueIs(RouteKey() | VipKey()):
                    pass
                case AuthoritiesAre(key, authorities):
                    self._probing.set_authorities(key.path, authorities)
                case ProblemsAre(key, problems):
                    if (concerned := parse_key(key.path)) is not None:
                        invalid = any(problem.fatal for problem in problems)
                        self._watch_list.note(concerned, key.source, invalid=invalid)
                case ValueIs(key, value, local):
                    self._watch_list.update(key, value, local=local)
                case _:
                    raise TypeError(f"the config process does not publish {message!r}")
        self._subscription.acknowledge()
        # before the whole configuration is known, a backend may seem to have another check than it has
        if self._synced:
            self._continue()

    def _continue(self) -> None:
        if not self._continuing:
            self._continuing = True
            self.actor_ref.tell(_NextPart())

    def _apply_part(self) -> None:
        self._output.add(self._watch_list.apply(PART, time.monotonic(), time.time()))
        complete = not self._watch_list.pending
        self._output.write(synced=complete)
        if not complete:
            self._continue()
        elif not self._applied:
            self._applied = True
            self._forget_stored()
        self._probing.schedule()

    def _forget_stored(self) -> None:
        """Forget the stored verdicts on backends that no longer exist: all those that do have theirs."""
        self._watch_list.forget_stored()
        self._output.forget_unclaimed()
        if targets := len(self._watch_list.monitor):
            log.info("health: probing %d targets, %d verdicts known", targets, len(self._publisher))


class _NextPart:
    """The checker's message to itself: apply the next part of a changed configuration."""
