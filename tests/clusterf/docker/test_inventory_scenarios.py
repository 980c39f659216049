"""Recorded sequences of engine events, replayed. `20.10`, `26.1`, `28.5` are versions of the engine."""

import msgspec
import pytest

from clusterf.docker.inventory import Inventory
from clusterf.docker.stops import OOM_SECONDS
from tests.clusterf.support.fake_engine import FakeEngine

OLD, NEW = "20.10", "26.1, 28.5"


class Watched:
    """An engine, and an inventory that gets all of its events, and the inspections that these call for."""

    def __init__(self, inventory=None, **labels):
        self.engine = FakeEngine(**labels)
        self.now = 0.0  # seconds
        self.inventory = inventory or Inventory(clock=lambda: self.now)
        self.inspections = []
        self.keys = {}

    def do(self, what, one="c1", *, inspect=True):
        """Let something happen; return the backend of the container, None where it has no key."""
        raw = self.engine.do(what, one)
        inspection = self.inventory.event(raw, live=True) if raw is not None else None
        if inspection is not None:
            self.inspections.append(inspection)
            if inspect:
                self.inspect(inspection.id)
        return self.backend(one)

    def inspect(self, one="c1"):
        container = self.engine.inspect(one)
        if container is None:
            self.inventory.vanished(one)
        else:
            self.inventory.inspected(container)
        return self.backend(one)

    def sleep(self, seconds):
        """Let time pass, and inspect what is due."""
        self.now += seconds
        assert self.inventory.wait == 0
        for inspection in self.inventory.looks():
            self.inspect(inspection.id)
        assert self.inventory.wait > 0

    def list(self):
        self.inventory.listed(self.engine.list(), [])
        return self.flush()

    def flush(self):
        changes = self.inventory.flush()
        for path, value in changes.keys.items():
            assert self.keys.get(path) != value, "only changes are reported"
            if value is None:
                del self.keys[path]
            else:
                self.keys[path] = value
        assert self.keys == self.inventory.keys, "the changes add up to the keys"
        return changes

    def backend(self, one="c1"):
        self.flush()
        raw = self.keys.get(b"services/web/backends/" + one.encode())
        return raw and msgspec.json.decode(raw)

    def weight(self, one="c1"):
        backend = self.backend(one)
        return "-" if backend is None else str(backend.get("weight", 10))


def replayed(steps, **labels):
    """Return the steps with the weights that they lead to; `-`: no key."""
    watched, seen = Watched(**labels), []
    for step in steps.split():
        what = step.partition(":")[0]
        watched.do(what)
        seen.append(f"{what}:{watched.weight()}")
    return " ".join(seen)


RUN = "create:- connect:- start:10"
KILLED = {
    OLD: "kill=9:0 die=137:0 leave:0 destroy:-",
    NEW: "kill=9:0 leave:0 die=137:0 destroy:-",
}
SCENARIOS = [
    ("run, kill, remove", OLD, f"{RUN} {KILLED[OLD]}"),
    ("run, kill, remove", NEW, f"{RUN} {KILLED[NEW]}"),
    ("stop, with grace", OLD, f"{RUN} kill=15:0 die=0:0 leave:0 stop:0 destroy:-"),
    ("stop, with grace", NEW, f"{RUN} kill=15:0 leave:0 stop:0 die=0:0 destroy:-"),
    ("stop, in vain", OLD, f"{RUN} kill=15:0 kill=9:0 die=137:0 leave:0 stop:0 destroy:-"),
    ("stop, in vain", NEW, f"{RUN} kill=15:0 kill=9:0 leave:0 stop:0 die=137:0 destroy:-"),
    ("exit", OLD, f"{RUN} die=3:0 leave:0 destroy:-"),
    ("exit", NEW, f"{RUN} leave:0 die=3:0 destroy:-"),
    ("signals", OLD, f"{RUN} kill=10:10 kill=1:10 kill=15:0 die=7:0 leave:0 destroy:-"),
    ("signals", NEW, f"{RUN} kill=10:10 kill=1:10 kill=15:0 leave:0 die=7:0 destroy:-"),
    ("restart", OLD, f"{RUN} kill=15:0 die=0:0 leave:0 stop:0 connect:0 start:10 restart:10 {KILLED[OLD]}"),
    ("restart", NEW, f"{RUN} kill=15:0 leave:0 stop:0 die=0:0 connect:0 start:10 restart:10 {KILLED[NEW]}"),
    ("policy", OLD, f"{RUN} crash:0 leave:0 connect:0 start:10 crash:0 leave:0 connect:0 start:10 {KILLED[OLD]}"),
    ("policy", NEW, f"{RUN} leave:0 crash:0 connect:0 start:10 leave:0 crash:0 connect:0 start:10 {KILLED[NEW]}"),
    ("pause", OLD, f"{RUN} pause:0 unpause:10 pause:0 kill=15:0 unpause:0 die=0:0 leave:0 stop:0 destroy:-"),
    ("pause", NEW, f"{RUN} pause:0 unpause:10 pause:0 kill=15:0 unpause:0 leave:0 stop:0 die=0:0 destroy:-"),
    ("rename", OLD, f"{RUN} rename=x:10 {KILLED[OLD]}"),
    ("rename", NEW, f"{RUN} rename=x:10 {KILLED[NEW]}"),
    ("update", NEW, f"{RUN} update:10 update:10 {KILLED[NEW]}"),
    (
        "networks",
        OLD,
        f"{RUN} connect=n2:10 disconnect:10 leave:10 disconnect=n2:0 leave=n2:0 connect:10 {KILLED[OLD]}",
    ),
    ("networks", NEW, f"{RUN} connect=n2:10 disconnect:10 disconnect=n2:0 connect:10 {KILLED[NEW]}"),
    ("connect when stopped", NEW, "create:- connect:- connect=n3:- start:10 kill=9:0 leave:0 leave=n3:0 die=9:0"),
    ("health", NEW, f"{RUN} health=starting:10 exec:10 health=healthy:10 health=unhealthy:0 exec:0 health=healthy:10"),
    ("sick", NEW, f"{RUN} health=unhealthy:0 pause:0 unpause:0 kill=9:0 leave:0 health=starting:0 connect:0 start:10"),
    ("oom", OLD, f"{RUN} oom:0 die=137:0 leave:0 destroy:-"),
    ("oom", NEW, f"{RUN} oom:0 leave:0 die=137:0 destroy:-"),
    ("bad command", "20.10, 26.1", "create:- connect:- leave:- destroy:-"),
    ("bad command", "28.5", "create:- leave:- destroy:-"),
    ("not started", NEW, "create:- destroy:-"),
    ("not labelled", NEW, "create=no:- connect:- start:- kill=15:- leave:- die=0:- destroy:-"),
]


@pytest.mark.parametrize(("name", "engines", "steps"), SCENARIOS)
def test_each_event_leads_to_its_weight(name, engines, steps):
    assert replayed(steps) == steps


@pytest.mark.parametrize(("name", "engines", "steps"), SCENARIOS)
def test_list_without_events_leads_to_the_same_weight(name, engines, steps):
    watched = Watched()
    for step in steps.split():
        what, _, weight = step.partition(":")
        watched.do(what, inspect=False)
        watched.list()
        assert (what, watched.weight()) == (what, weight)


@pytest.mark.parametrize(("name", "engines", "steps"), SCENARIOS)
def test_restart_at_any_step_changes_no_key(name, engines, steps):
    watched = Watched()
    for step in steps.split():
        watched.do(step.partition(":")[0])
        if step == "oom:0":
            watched.sleep(OOM_SECONDS)  # it goes on
        watched.list()
        again = Inventory(records=watched.inventory.records)
        again.listed(watched.engine.list(), [])
        assert again.flush().records == {}
        assert again.keys == watched.inventory.keys


@pytest.mark.parametrize(("name", "engines", "steps"), SCENARIOS)
@pytest.mark.parametrize("gone", [True, False])
def test_repeated_events_change_nothing(name, engines, steps, gone):
    watched = Watched()
    happens = [step.partition(":")[0] for step in steps.split()]
    events = [watched.engine.do(what) for what in happens if gone or what != "destroy"]
    watched.list()
    wanted = dict(watched.inventory.keys)
    for raw in filter(None, events):
        inspection = watched.inventory.event(raw)
        if inspection is not None:
            watched.inspect(inspection.id)
        watched.flush()
        assert watched.inventory.keys == wanted


def test_stop_signal_drains_without_an_inspection():
    watched = Watched()
    for what in RUN.replace(":-", "").replace(":10", "").split():
        watched.do(what)
    inspections = len(watched.inspections)
    assert watched.do("kill=15", inspect=False)["weight"] == 0
    assert len(watched.inspections) == inspections


def test_stopped_container_keeps_its_address():
    watched = Watched()
    for what in ("create", "connect", "start"):
        watched.do(what)
    before = watched.backend()
    watched.do("leave")
    watched.do("die")
    assert watched.backend() == before | {"weight": 0}
    watched.list()
    assert watched.backend() == before | {"weight": 0}


def test_restarted_container_gets_its_new_address():
    watched = Watched()
    first = [watched.do(what) for what in ("create", "connect", "start")][-1]
    second = [watched.do(what) for what in ("kill=15", "leave", "die", "connect", "start")][-1]
    assert first["ipv4"] != second["ipv4"]
    assert "weight" not in second
