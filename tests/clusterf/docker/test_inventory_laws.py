"""What holds of a inventory whatever happens, and however it is told: late, twice, not at all."""

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from clusterf.docker.inventory import Inventory
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
    """Containers to which only happens what can happen, and which of them were told to stop."""

    def __init__(self):
        self.engine = FakeEngine()
        self.told = set()  # to stop, or have ended, in the run that they are in
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
                self.told.discard(one)
                return [*(f"connect={name}" for name in networks), "start"]
            case "end" | "crash" if runs:
                self.told.add(one)
                return [*(f"leave={name}" for name in networks), "die" if word == "end" else "crash"]
            case "kill" if runs:
                self.told |= {one} if argument in ("9", "15") else set()
                return [f"kill={argument}"]
            case "destroy" if not runs:
                self.told.discard(one)
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
        return 0 if one in self.told or container.paused or container.health == "unhealthy" else 10


class Observed:
    """A inventory, and what it has told, which adds up to what it wants."""

    def __init__(self):
        self.inventory = Inventory()
        self.keys = {}

    def take(self, one, container):
        if container is None:
            self.inventory.vanished(one)
        else:
            self.inventory.inspected(container)

    def flush(self):
        """Return the paths that something was told of."""
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
def test_told_in_order_and_looked_at_at_once_each_container_has_its_weight(happens):
    world, observed = World(), Observed()
    for what, one in happens:
        for raw in world.do(what, one):
            look = observed.inventory.event(raw)
            if look is not None:
                observed.take(look.id, world.engine.inspect(look.id))
            told = observed.flush()
            assert all(path.endswith(one.encode()) for path in told), "what happens to one takes nothing from others"
        if what == "oom":
            assert observed.weights().get(one) in (0, None)
            observed.inventory.listed(world.engine.list(), [])
            observed.flush()
        weights = observed.weights()
        assert weights.keys() <= world.engine.containers.keys() - {PLAIN}
        for each in IDS:
            if (weight := world.weight(each)) is not None:
                assert weights.get(each) == weight


TELLS = st.one_of(
    st.tuples(st.just("happens"), HAPPENS),
    st.tuples(st.just("happens"), HAPPENS),
    # the event at some address of those that were not told is told, told and kept to be told again, or lost
    st.tuples(st.sampled_from(["tell", "tell", "repeat", "lose"]), st.sampled_from([0, 0, 0, 1, 2, 5])),
    st.tuples(st.just("ask"), st.sampled_from([*IDS, "list"])),
    # the answer to any question that was asked comes
    st.tuples(st.just("answer"), st.integers(0, 5)),
    st.tuples(st.just("flush"), st.none()),
)


class Rumour(Observed):
    """What happens comes to the inventory in any order, if at all."""

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
            case "tell" | "repeat" | "lose" if self.events:
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
@given(st.lists(TELLS, max_size=60))
def test_however_it_was_told_after_a_list_all_is_as_the_list_and_the_marks_say(steps):
    rumour = Rumour()
    for step in steps:
        rumour.step(*step)
    world, inventory = rumour.world, rumour.inventory
    inventory.listed(world.engine.list(), [])
    rumour.flush()
    fresh = Inventory(records=inventory.records)
    fresh.listed(world.engine.list(), [])
    assert fresh.flush().records == {}
    assert fresh.keys == inventory.keys
    weights = rumour.weights()
    for one in IDS:
        weight = world.weight(one)
        if weight is not None and one in world.told:
            assert one in weights  # the event may have been lost
        elif weight is not None:
            assert weights.get(one) == weight, "a container that nobody told to stop takes connections"
