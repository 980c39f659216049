"""Laws of an inventory, for any history, with events that come late, twice or not at all."""

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from clusterf.docker.inventory import Inventory
from clusterf.docker.stops import OOM_SECONDS
from tests.clusterf.support.fake_engine import FakeEngine
from tests.examples import examples

IDS = ("c1", "c2", "c3", "c4")
PLAIN = "c4"  # has no labels
HAPPENS = st.tuples(
    st.sampled_from(
        [
            *["create", "create", "connect", "connect=n2", "disconnect", "disconnect=n2", "destroy", "rename=x"],
            *["start", "start", "start", "end", "end", "crash", "oom", "pause", "unpause", "exec", "update"],
            *["kill=15", "kill=15", "kill=9", "kill=1", "health=starting", "health=healthy", "health=unhealthy"],
        ]
    ),
    st.sampled_from(IDS),
)


class World:
    """An engine in which only possible events happen, and which of its containers were stopped."""

    def __init__(self):
        self.engine = FakeEngine()
        self.stopped = set()  # signalled to stop, or ended, in their present run
        self.unborn = set(IDS)  # an id does not come back

    def do(self, what, one):
        """Let something happen, if it can; return the events of it."""
        steps = self._steps(*what.partition("=")[::2], one)
        return [raw for step in steps if (raw := self.engine.do(step, one)) is not None]

    def _steps(self, word, argument, one):
        state = self.engine.containers.get(one)
        if word == "create" and one in self.unborn:
            self.unborn.remove(one)
            return [f"create={'no' if one == PLAIN else ''}"]
        if state is None:
            return []
        runs, networks = state["running"] and not state.get("Restarting"), list(state["networks"])
        match word:
            case "start" if not runs:
                self.stopped.discard(one)
                return [*(f"connect={name}" for name in networks), "start"]
            case "end" | "crash" if runs:
                self.stopped.add(one)
                return [*(f"leave={name}" for name in networks), "die" if word == "end" else "crash"]
            case "kill" if runs:
                self.stopped |= {one} if argument in ("9", "15") else set()
                return [f"kill={argument}"]
            case "destroy" if not runs:
                self.stopped.discard(one)
                return ["destroy"]
            case "disconnect" if (argument or "bridge") in networks:
                return [f"disconnect={argument}"]
            case "oom" | "pause" | "unpause" | "exec" | "health" if runs:
                return [f"{word}={argument}"]
            case "connect" | "rename" | "update":
                return [f"{word}={argument}"]
        return []

    def weight(self, one):
        """Return the weight that a container has to have when all is known of it, None where that depends."""
        container = self.engine.inspect(one)
        if container is None or not container.labels or not container.running:
            return None
        if not any(attachment.ipv4 for attachment in container.attachments):
            return None
        return 0 if one in self.stopped or container.paused or container.health == "unhealthy" else 10


class Observed:
    """An inventory, whose changes add up to its keys."""

    def __init__(self):
        self.now = 0.0
        self.inventory = Inventory(clock=lambda: self.now)
        self.keys = {}

    def take(self, one, container):
        if container is None:
            self.inventory.vanished(one)
        else:
            self.inventory.inspected(container)

    def flush(self):
        """Return the paths that changed."""
        changes = self.inventory.flush().keys
        for path, value in changes.items():
            assert self.keys.get(path) != value
            self.keys[path] = value
        assert {path: value for path, value in self.keys.items() if value is not None} == self.inventory.keys
        return changes.keys()

    def weights(self):
        named = {path.rpartition(b"/")[2].decode(): raw for path, raw in self.inventory.keys.items()}
        return {one: msgspec.json.decode(raw).get("weight", 10) for one, raw in named.items()}


@settings(max_examples=examples(300))
@given(st.lists(HAPPENS, max_size=40))
def test_events_in_order_with_inspections_give_each_container_its_weight(happens):
    world, observed = World(), Observed()
    for what, one in happens:
        for raw in world.do(what, one):
            inspection = observed.inventory.event(raw, live=True)
            if inspection is not None:
                observed.take(inspection.id, world.engine.inspect(inspection.id))
            changed = observed.flush()
            assert all(path.endswith(one.encode()) for path in changed), "an event affects its container only"
        if what == "oom":
            assert observed.weights().get(one) in (0, None)
            observed.now += OOM_SECONDS
            for inspection in observed.inventory.looks():
                observed.take(inspection.id, world.engine.inspect(inspection.id))
            observed.flush()
        weights = observed.weights()
        assert weights.keys() <= world.engine.containers.keys() - {PLAIN}
        for each in IDS:
            if (weight := world.weight(each)) is not None:
                assert weights.get(each) == weight


STEPS = st.one_of(
    st.tuples(st.just("happens"), HAPPENS),
    st.tuples(st.just("happens"), HAPPENS),
    # one of the events on their way is delivered, delivered and kept for later, or lost
    st.tuples(st.sampled_from(["deliver", "deliver", "repeat", "lose"]), st.sampled_from([0, 0, 0, 1, 2, 5])),
    st.tuples(st.just("ask"), st.sampled_from([*IDS, "list"])),
    # the answer to any question that was asked comes
    st.tuples(st.just("answer"), st.integers(0, 5)),
    st.tuples(st.just("flush"), st.none()),
)


class Unreliable(Observed):
    """An inventory that gets events and answers in any order, if at all."""

    def __init__(self):
        super().__init__()
        self.world = World()
        self.events = []
        self.answers = []

    def step(self, kind, what):
        engine = self.world.engine
        match kind:
            case "happens":
                self.events += self.world.do(*what)
            case "ask" if what not in self.world.unborn:
                self.answers.append((what, engine.list() if what == "list" else engine.inspect(what)))
            case "answer" if self.answers:
                self._answer(*self.answers.pop(what % len(self.answers)))
            case "flush":
                self.flush()
            case "deliver" | "repeat" | "lose" if self.events:
                raw = self.events.pop(what % len(self.events))
                if kind != "lose":
                    self.inventory.event(raw)
                if kind == "repeat":
                    self.events.append(raw)

    def _answer(self, what, answer):
        if what == "list":
            self.inventory.listed(answer, [])
        else:
            self.take(what, answer)


@settings(max_examples=examples(600))
@given(st.lists(STEPS, max_size=60))
def test_list_corrects_late_lost_and_repeated_events(steps):
    unreliable = Unreliable()
    for step in steps:
        unreliable.step(*step)
    world, inventory = unreliable.world, unreliable.inventory
    inventory.listed(world.engine.list(), [])
    unreliable.flush()
    fresh = Inventory(records=inventory.records)
    fresh.listed(world.engine.list(), [])
    assert fresh.flush().records == {}
    assert fresh.keys == inventory.keys
    weights = unreliable.weights()
    for one in IDS:
        weight = world.weight(one)
        if weight is not None and one in world.stopped:
            assert one in weights  # the event may have been lost
        elif weight is not None:
            assert weights.get(one) == weight, "a container that was not stopped keeps its weight"
