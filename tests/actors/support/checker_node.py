"""A HealthChecker between a configuration that the test publishes and a recorder of the verdicts."""

from actors.health.health_checker import HealthChecker
from actors.link.messages import VerdictIs
from actors.link.publisher import Publisher
from clusterf.health.targets import Targets, shard_of
from clusterf.health.verdict_store import VerdictStore
from tests.actors.support.fake_prober import FakeProbers
from tests.actors.support.local_links import LocalLinks
from tests.actors.support.recorder import Recorder, subscribe
from tests.waiting import wait_until

__all__ = ["CheckerNode"]


class CheckerNode:
    """The configuration on a link, a checker that subscribes to it, and a recorder of the checker's link."""

    def __init__(self, folder, stack, probers=None):
        self._folder = folder
        self._stack = stack
        self.probers = probers or FakeProbers()
        self.links = LocalLinks()
        self.config = Publisher("config", self.links)
        self.config.start()
        stack.callback(self.config.stop)
        # the changes of each write to the store
        self.writes = []

    def publish(self, *messages, synced=True):
        """Publish a part of the configuration."""
        self.config.publish(messages, synced=synced)

    def start(self, *, references=(), shard=0, shards=1, stored=True):
        """Start a checker, and a recorder of its verdicts; without `stored` they are not stored."""
        name = f"health{shard}"
        own = self._folder / f"health{shard}.db" if stored else None

        def open_store():
            store = VerdictStore(own, lambda at: shard_of(at, shards) == shard)
            update = store._store.update
            store._store.update = lambda section, changes: (self.writes.append(changes), update(section, changes))
            return store

        targets = Targets(shard, shards)
        self.ref = HealthChecker.start(name, self.links, targets, references, open_store, self.probers)
        self.checker = self.ref._actor_weakref()
        ref = Recorder.start()
        subscription = subscribe(name, self.links, ref)
        self._stack.callback(subscription.stop)
        self.recorder = ref._actor_weakref()
        return self

    def restart(self, **options):
        assert self.ref.stop(timeout=10)
        return self.start(**options)

    def verdicts(self):
        """Return the present verdicts, by key: whether the backend is up."""
        return {key: message.value.up for key, message in dict(self.recorder.state).items()}

    def wait_for(self, verdicts):
        """Wait until these are the present verdicts."""
        wait_until(lambda: self.verdicts() == verdicts)

    def published(self):
        """Return all messages with a verdict, in their order."""
        return [message for message in self.recorder.messages if isinstance(message, VerdictIs)]
