"""A HealthChecker between a configuration that the test publishes and a recorder of its verdicts."""

from actors.health.health_checker import HealthChecker, Sockets
from actors.link.messages import VerdictIs
from actors.link.publisher import Publisher
from clusterf.health.targets import Targets, shard_of
from clusterf.health.verdict_store import VerdictStore
from tests.actors.support.fake_prober import FakeProbers
from tests.actors.support.recorder import Recorder, subscribe
from tests.waiting import wait_until

__all__ = ["CheckerNode"]


class CheckerNode:
    """A configuration, a checker that follows it, and a recorder that hears its verdicts."""

    def __init__(self, place, stack, probers=None):
        self._place = place
        self._stack = stack
        self.probers = probers or FakeProbers()
        self.config = Publisher(place / "config.sock")
        self.config.start()
        stack.callback(self.config.stop)
        # how often something was written down
        self.writes = []

    def says(self, *messages, synced=True):
        self.config.publish(messages, synced=synced)

    def start(self, *, references=(), shard=0, shards=1, kept=True):
        verdicts = self._place / f"health{shard}.sock"
        own = self._place / f"health{shard}.db" if kept else None

        def open_record():
            record = VerdictStore(own, lambda at: shard_of(at, shards) == shard)
            update = record._store.update
            record._store.update = lambda section, changes: (self.writes.append(changes), update(section, changes))
            return record

        links = Sockets(self._place / "config.sock", verdicts)
        targets = Targets(shard, shards)
        self.ref = HealthChecker.start(links, targets, references, open_record, self.probers)
        self.checker = self.ref._actor_weakref()
        ref = Recorder.start()
        subscription = subscribe(verdicts, ref)
        self._stack.callback(subscription.stop)
        self.heard = ref._actor_weakref()
        return self

    def restart(self, **options):
        assert self.ref.stop(timeout=10)
        return self.start(**options)

    def ups(self):
        """What is known, by key: whether it is up."""
        return {key: message.value.up for key, message in dict(self.heard.state).items()}

    def becomes(self, expected):
        wait_until(lambda: self.ups() == expected)

    def told(self):
        """All verdicts that were told, one after the other."""
        return [message for message in self.heard.messages if isinstance(message, VerdictIs)]
