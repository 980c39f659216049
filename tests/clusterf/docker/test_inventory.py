"""Replays of what engines tell, and single rules. `20.10`, `26.1`, `28.5` are versions of the engine."""

import time
from ipaddress import IPv4Address

import msgspec
import pytest

from clusterf.docker.addresses import Addressing, ContainerAddress
from clusterf.docker.containers import container_of, network_of
from clusterf.docker.inventory import Inspection, Inventory
from clusterf.docker.record import ContainerRecord
from clusterf.docker.routes import Routing
from tests.clusterf.support.fake_engine import FakeEngine, event, inspect, network

KEY = b"services/web/backends/c1"
OLD, NEW = "20.10", "26.1, 28.5"


class Watched:
    """An engine, and a inventory that is told all that happens there, and looks where it wants to."""

    def __init__(self, inventory=None, **labels):
        self.engine = FakeEngine(**labels)
        self.inventory = inventory or Inventory()
        self.looks = []
        self.keys = {}

    def do(self, what, one="c1", *, look=True):
        """Let something happen; return the backend of the container, None where it has no key."""
        raw = self.engine.do(what, one)
        wanted = self.inventory.event(raw) if raw is not None else None
        if wanted is not None:
            self.looks.append(wanted)
            if look:
                self.look(wanted.id)
        return self.backend(one)

    def look(self, one="c1"):
        container = self.engine.inspect(one)
        if container is None:
            self.inventory.vanished(one)
        else:
            self.inventory.inspected(container)
        return self.backend(one)

    def list(self):
        self.inventory.listed(self.engine.list(), [])
        return self.flush()

    def flush(self):
        changes = self.inventory.flush()
        for path, value in changes.keys.items():
            assert self.keys.get(path) != value, "only what changed is told"
            if value is None:
                del self.keys[path]
            else:
                self.keys[path] = value
        assert self.keys == self.inventory.keys, "what is told adds up"
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
def test_each_step_of_what_engines_tell_leads_to_its_weight(name, engines, steps):
    assert replayed(steps) == steps


@pytest.mark.parametrize(("name", "engines", "steps"), SCENARIOS)
def test_without_any_look_a_list_makes_good_for_each_step(name, engines, steps):
    watched = Watched()
    for step in steps.split():
        what, _, weight = step.partition(":")
        watched.do(what, look=False)
        watched.list()
        expected = "10" if what == "oom" else weight  # by the list, it went on
        assert (what, watched.weight()) == (what, expected)


@pytest.mark.parametrize(("name", "engines", "steps"), SCENARIOS)
def test_a_node_that_starts_again_at_any_step_changes_no_key(name, engines, steps):
    watched = Watched()
    for step in steps.split():
        watched.do(step.partition(":")[0])
        watched.list()
        again = Inventory(records=watched.inventory.records)
        again.listed(watched.engine.list(), [])
        assert again.flush().records == {}
        assert again.keys == watched.inventory.keys


@pytest.mark.parametrize(("name", "engines", "steps"), SCENARIOS)
@pytest.mark.parametrize("gone", [True, False])
def test_events_that_are_told_again_later_change_nothing(name, engines, steps, gone):
    watched = Watched()
    happens = [step.partition(":")[0] for step in steps.split()]
    told = [watched.engine.do(what) for what in happens if gone or what != "destroy"]
    watched.list()
    wanted = dict(watched.inventory.keys)
    for raw in filter(None, told):
        look = watched.inventory.event(raw)
        if look is not None:
            watched.look(look.id)
        watched.flush()
        assert watched.inventory.keys == wanted


def test_a_signal_to_stop_counts_before_anything_is_looked_at():
    watched = Watched()
    for what in RUN.replace(":-", "").replace(":10", "").split():
        watched.do(what)
    looks = len(watched.looks)
    assert watched.do("kill=15", look=False)["weight"] == 0
    assert len(watched.looks) == looks


@pytest.mark.parametrize("signal", ["3", "9", "15"])
def test_a_container_is_told_to_stop_by_its_stop_signal_too(signal):
    inventory = Inventory()
    inventory.listed(
        [container_of(inspect(labels={"service": "web", "backend.tcp": "8080"}, stop_signal="SIGQUIT"))], []
    )
    inventory.event(event("container", "kill", "c1", signal="2"))
    inventory.flush()
    assert b'"weight":0' not in inventory.keys[KEY]
    inventory.event(event("container", "kill", "c1", signal=signal))
    inventory.flush()
    assert b'"weight":0' in inventory.keys[KEY]


def running(one="c1", *, started="2026-11-22T13:30:53.5Z", **shape):
    labels = {"service": "web", "backend.tcp": "8080"} | shape.pop("labels", {})
    return container_of(inspect(one, labels=labels, started=started, **shape))


RUN_START = running().started_at


@pytest.mark.parametrize(
    ("action", "signal", "when", "weight"),
    [
        ("kill", "15", 0, 0),
        ("kill", "15", -1, 10),
        ("kill", "1", 0, 10),
        ("die", "", 0, 0),
        ("die", "", -1, 10),
        ("oom", "", -1, 10),
    ],
)
@pytest.mark.parametrize("known", ["known", "unknown", "started"])
def test_what_was_before_the_present_run_is_not_about_it(known, action, signal, when, weight):
    inventory = Inventory()
    if known == "known":
        inventory.listed([running()], [])
    if known == "started":
        inventory.listed([running(started="2026-11-22T13:30:00Z")], [])
        assert inventory.event(event("container", "start", "c1", RUN_START + 10)) == Inspection("container", "c1")
    inventory.event(event("container", action, "c1", RUN_START + when, signal=signal))
    inventory.inspected(running())
    inventory.flush()
    assert msgspec.json.decode(inventory.keys[KEY]).get("weight", 10) == weight


@pytest.mark.parametrize("signal", ["3", "15"])
def test_a_signal_that_comes_before_its_container_is_known_waits_for_it(signal):
    inventory = Inventory()
    assert inventory.event(event("container", "kill", "c1", RUN_START + 5, signal=signal)) == Inspection(
        "container", "c1"
    )
    assert inventory.event(event("container", "kill", "c1", RUN_START + 6, signal="1")) == Inspection("container", "c1")
    inventory.inspected(running(stop_signal="SIGQUIT"))
    assert b'"weight":0' in inventory.flush().keys[KEY]
    assert inventory.records["c1"].stopped_run == RUN_START


def test_a_signal_counts_while_it_waits():
    inventory = Inventory()
    inventory.listed([running()], [])
    inventory.flush()
    inventory.event(event("container", "start", "c1", RUN_START + 10**9))
    assert inventory.flush().keys == {}
    inventory.event(event("container", "kill", "c1", RUN_START + 2 * 10**9, signal="15"))
    assert b'"weight":0' in inventory.flush().keys[KEY]
    inventory.inspected(running(started="2026-11-22T13:30:56.5Z"))  # after the signal
    assert b'"weight":0' not in inventory.flush().keys[KEY]


def test_a_signal_that_waits_is_settled_by_a_look_that_shows_nothing_new():
    inventory = Inventory()
    inventory.listed([running()], [])
    inventory.event(event("container", "start", "c1", RUN_START + 10))  # told again
    inventory.event(event("container", "kill", "c1", RUN_START + 20, signal="15"))
    inventory.inspected(running())
    assert inventory.flush().records["c1"].stopped_run == RUN_START
    inventory.event(event("container", "start", "c1", RUN_START + 10))
    inventory.event(event("container", "kill", "c1", RUN_START + 20, signal="15"))
    inventory.inspected(running(started="2026-11-22T13:31:00Z"))
    assert b'"weight":0' not in inventory.flush().keys[KEY]


def test_of_a_signal_that_comes_twice_the_later_time_counts():
    inventory = Inventory()
    for when in (5, -5):
        inventory.event(event("container", "kill", "c1", RUN_START + when, signal="15"))
    inventory.inspected(running())
    assert inventory.flush().records["c1"].stopped_run == RUN_START


def test_a_signal_does_not_wait_for_a_container_that_a_list_does_not_have():
    inventory = Inventory()
    inventory.event(event("container", "kill", "c1", RUN_START + 5, signal="15"))
    inventory.listed([], [])
    inventory.inspected(running())
    assert inventory.flush().records["c1"].stopped_run == 0


def test_a_mark_holds_for_one_run_whatever_the_clock_says():
    inventory = Inventory()
    inventory.listed([running()], [])
    inventory.event(event("container", "kill", "c1", RUN_START + 10**12, signal="15"))
    inventory.listed([running()], [])
    assert b'"weight":0' in inventory.flush().keys[KEY]
    inventory.listed([running(started="2026-11-22T13:30:52Z")], [])
    assert b'"weight":0' not in inventory.flush().keys[KEY]


def test_an_oom_that_a_container_survives_counts_until_the_next_list():
    inventory = Inventory()
    inventory.listed([running()], [])
    inventory.flush()
    assert inventory.event(event("container", "oom", "c1", RUN_START + 5)) == Inspection("container", "c1")
    assert b'"weight":0' in inventory.flush().keys[KEY]
    inventory.inspected(running())
    assert inventory.flush().keys == {}
    inventory.listed([running()], [])
    assert b'"weight":0' not in inventory.flush().keys[KEY]


def test_a_container_that_is_gone_does_not_come_back_by_what_was_asked_earlier():
    inventory = Inventory()
    inventory.listed([running()], [])
    inventory.event(event("container", "destroy", "c1"))
    inventory.inspected(running())
    inventory.listed([running()], [])
    inventory.event(event("container", "kill", "c1", signal="15"))
    assert inventory.event(event("container", "start", "c1")) is None
    inventory.flush()
    assert (inventory.keys, inventory.records) == ({}, {})


def test_what_a_list_does_not_have_is_gone():
    inventory = Inventory(routing=Routing(frozenset(["front"])), records={"c9": ContainerRecord(5)})
    inventory.listed([running(), running("c2")], [network_of(network("front", "10.1.0.0/16"))])
    assert inventory.flush().records["c9"] is None
    assert len(inventory.keys) == 3
    inventory.listed([running("c2")], [])
    changes = inventory.flush()
    assert changes.keys == {KEY: None, b"routes/id-of-front": None}
    assert changes.records == {"c1": None}
    assert list(inventory.keys) == [b"services/web/backends/c2"]


def test_of_what_a_list_has_but_nobody_understands_stays_what_is_known():
    inventory = Inventory(routing=Routing(frozenset(["front"])))
    inventory.listed([running()], [network_of(network("front", "10.1.0.0/16"))])
    wanted = dict(inventory.flush().keys)
    inventory.listed([], [], unread=["c1", "id-of-front", "never-seen"])
    assert inventory.flush().keys == {}
    assert inventory.keys == wanted


def test_a_list_that_says_the_same_changes_nothing():
    inventory = Inventory(routing=Routing(frozenset(["front"])))
    everything = [running(), running("c2", labels={"backend.tcp": "x"})], [network_of(network("front", "10.1.0.0/16"))]
    inventory.listed(*everything)
    inventory.flush()
    inventory.listed(*everything)
    assert not any(inventory.flush())


def test_a_stopped_container_stays_where_it_was():
    watched = Watched()
    for what in ("create", "connect", "start"):
        watched.do(what)
    before = watched.backend()
    watched.do("leave")
    watched.do("die")
    assert watched.backend() == before | {"weight": 0}
    watched.list()
    assert watched.backend() == before | {"weight": 0}


def test_a_restarted_container_is_back_at_its_new_address():
    watched = Watched()
    first = [watched.do(what) for what in ("create", "connect", "start")][-1]
    second = [watched.do(what) for what in ("kill=15", "leave", "die", "connect", "start")][-1]
    assert first["ipv4"] != second["ipv4"]
    assert "weight" not in second


@pytest.mark.parametrize(
    ("raw", "look"),
    [
        *[
            (event("container", what, "c1"), Inspection("container", "c1"))
            for what in ("start", "die", "pause", "unpause")
        ],
        *[(event("container", what, "c1"), Inspection("container", "c1")) for what in ("stop", "oom", "rename")],
        (event("container", "health_status: unhealthy", "c1"), Inspection("container", "c1")),
        (event("container", "health_status: running", "c1"), Inspection("container", "c1")),
        *[(event("container", what, "c1"), None) for what in ("create", "attach", "exec_die", "exec_start: sh", "top")],
        *[(event("container", what, "c1"), None) for what in ("update", "export", "resize", "restart", "destroy")],
        (event("container", "kill", "c1", signal="15"), None),
        (event("container", "prune", ""), None),
        (event("container", "start", "plain"), None),
        (event("container", "kill", "plain", signal="15"), None),
        (event("container", "start", "new"), Inspection("container", "new")),
        (event("network", "connect", "n1", container="c1"), Inspection("container", "c1")),
        (event("network", "disconnect", "n1", container="c1"), Inspection("container", "c1")),
        (event("network", "connect", "n1", container="new"), Inspection("container", "new")),
        (event("network", "connect", "n1", container="plain"), None),
        (event("network", "connect", "n1"), None),
        (event("network", "create", "n1"), Inspection("network", "n1")),
        (event("network", "update", "n1"), Inspection("network", "n1")),
        (event("network", "destroy", "n1"), None),
        (event("network", "prune", ""), None),
        (event("volume", "create", "c1"), None),
        (event("image", "delete", "c1"), None),
        (event("daemon", "reload", "c1"), None),
    ],
)
def test_an_event_tells_what_to_look_at(raw, look):
    inventory = Inventory()
    inventory.listed([running(), container_of(inspect("plain"))], [])
    assert inventory.event(raw) == look


def test_what_is_no_event_is_refused():
    with pytest.raises(ValueError, match="unexpected JSON"):
        Inventory().event({"Type": "container"})


def test_routes_follow_the_networks():
    inventory = Inventory(routing=Routing(frozenset(["front"]), IPv4Address("192.0.2.1"), method="masq"))
    inventory.inspected(network_of(network("front", "10.1.0.0/16")))
    inventory.inspected(network_of(network("back", "10.2.0.0/16")))
    route = b'{"Prefix":"10.1.0.0/16","Gateway":"192.0.2.1","IPVSMethod":"masq"}'
    assert inventory.flush().keys == {b"routes/id-of-front": route}
    assert inventory.event(event("network", "destroy", "id-of-front")) is None
    assert inventory.flush().keys == {b"routes/id-of-front": None}


def test_a_chosen_network_without_subnets_is_reported():
    inventory = Inventory(routing=Routing(frozenset(["host"])))
    inventory.inspected(network_of(network("host")))
    (problem,) = inventory.flush().problems["id-of-host"]
    assert str(problem) == "docker: host: no subnet to advertise"
    inventory.vanished("id-of-host")
    assert inventory.flush().problems == {"id-of-host": ()}


def test_problems_are_told_when_they_come_and_when_they_go():
    inventory = Inventory()
    inventory.listed([running(labels={"network": "front"})], [])
    (problem,) = inventory.flush().problems["c1"]
    assert str(problem) == "docker: web: network: not connected to network front"
    inventory.inspected(running(labels={"network": "front"}, name="/other"))
    assert str(inventory.flush().problems["c1"][0]) == "docker: other: network: not connected to network front"
    inventory.inspected(running(labels={"network": "front"}, networks={"front": "10.1.0.2"}))
    changes = inventory.flush()
    assert changes.problems == {"c1": ()}
    assert changes.keys == {KEY: b'{"ipv4":"10.1.0.2","tcp":8080}'}


def test_several_services_have_a_key_each():
    inventory = Inventory()
    inventory.listed([running(labels={"service": "web api", "backend:api.weight": "3"})], [])
    assert inventory.flush().keys == {
        KEY: b'{"ipv4":"172.17.0.2","tcp":8080}',
        b"services/api/backends/c1": b'{"ipv4":"172.17.0.2","tcp":8080,"weight":3}',
    }


def test_at_the_hosts_address_a_container_that_stops_stays_at_its_port():
    inventory = Inventory(Addressing(host=True, host4=IPv4Address("192.0.2.1")))
    inventory.listed([running(ports={"8080/tcp": [{"HostIp": "0.0.0.0", "HostPort": "32768"}]})], [])
    assert inventory.flush().keys == {KEY: b'{"ipv4":"192.0.2.1","tcp":32768}'}
    inventory.inspected(running(running=False, networks={"bridge": ""}))
    assert inventory.flush().keys == {KEY: b'{"ipv4":"192.0.2.1","tcp":32768,"weight":0}'}


CHECK = b"services/web/health"


def test_a_check_is_there_as_long_as_a_backend_asks_for_it():
    inventory = Inventory()
    inventory.listed([running(labels={"health": "tcp"}), running("c2", labels={"health": "tcp"}), running("c3")], [])
    assert inventory.flush().checks == {CHECK: b'{"type":"tcp"}'}
    inventory.vanished("c2")
    assert inventory.flush().checks == {}
    inventory.inspected(running(running=False, labels={"health": "tcp"}))
    assert inventory.flush().checks == {}
    inventory.vanished("c1")
    assert inventory.flush().checks == {CHECK: None}
    assert inventory.checks == {}


def test_of_different_checks_that_of_the_container_started_last_counts():
    inventory = Inventory()
    inventory.listed([running(labels={"health": "tcp"})], [])
    inventory.flush()
    newer = running("c2", labels={"health": "http:/"}, started="2026-11-22T13:31:00Z")
    inventory.inspected(newer)
    changes = inventory.flush()
    assert changes.checks == {CHECK: b'{"type":"http","path":"/"}'}
    (problem,) = changes.problems["services/web/health"]
    assert not problem.fatal
    assert str(problem) == (
        "docker: services/web/health: containers have different health labels: using that of the one started last, c2"
    )
    inventory.vanished("c1")
    changes = inventory.flush()
    assert (changes.checks, changes.problems) == ({}, {"services/web/health": ()})


def test_marks_tell_what_is_to_be_kept():
    inventory = Inventory()
    inventory.listed(
        [running(), container_of(inspect("plain")), running("c2", started="", running=False, networks={})], []
    )
    address = ContainerAddress("id-of-bridge", IPv4Address("172.17.0.2"))
    assert inventory.flush().records == {"c1": ContainerRecord(0, address)}
    inventory.event(event("container", "kill", "c1", RUN_START + 5, signal="15"))
    assert inventory.flush().records == {"c1": ContainerRecord(RUN_START, address)}
    assert inventory.flush().records == {}
    inventory.event(event("container", "destroy", "c1"))
    assert inventory.flush().records == {"c1": None}


def test_one_event_costs_the_same_among_very_many():
    one = running()

    def took(count):
        inventory = Inventory()
        inventory.listed([msgspec.structs.replace(one, id=f"c{n}") for n in range(count)], [])
        inventory.flush()
        began = time.process_time()
        for n in range(100):
            inventory.event(event("container", "kill", f"c{n}", RUN_START + 5, signal="15"))
            assert len(inventory.flush().keys) == 1
        return time.process_time() - began

    few, many = min(took(100) for _ in range(3)), min(took(4_000) for _ in range(3))
    assert many < 3 * few + 0.02
