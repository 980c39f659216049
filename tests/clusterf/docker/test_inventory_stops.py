"""Stop signals, deaths and ooms: what drains a container, and what is recorded of it."""

from ipaddress import IPv4Address

import msgspec
import pytest

from clusterf.docker.addresses import ContainerAddress
from clusterf.docker.containers import container_of
from clusterf.docker.inventory import Inspection, Inventory
from clusterf.docker.record import ContainerRecord
from clusterf.docker.stops import OOM_SECONDS
from tests.clusterf.support.fake_engine import event, inspect, running

KEY = b"services/web/backends/c1"
RUN_START = running().started_at


@pytest.mark.parametrize("signal", ["3", "9", "15"])
def test_stop_signal_of_its_own_drains_a_container(signal):
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
def test_events_before_the_present_run_have_no_effect(known, action, signal, when, weight):
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
def test_signal_to_an_unknown_container_is_deferred_to_its_inspection(signal):
    inventory = Inventory()
    assert inventory.event(event("container", "kill", "c1", RUN_START + 5, signal=signal)) == Inspection(
        "container", "c1"
    )
    assert inventory.event(event("container", "kill", "c1", RUN_START + 6, signal="1")) == Inspection("container", "c1")
    inventory.inspected(running(stop_signal="SIGQUIT"))
    assert b'"weight":0' in inventory.flush().keys[KEY]
    assert inventory.records["c1"].stopped_run == RUN_START


def test_deferred_signal_drains_until_the_inspection():
    inventory = Inventory()
    inventory.listed([running()], [])
    inventory.flush()
    inventory.event(event("container", "start", "c1", RUN_START + 10**9))
    assert inventory.flush().keys == {}
    inventory.event(event("container", "kill", "c1", RUN_START + 2 * 10**9, signal="15"))
    assert b'"weight":0' in inventory.flush().keys[KEY]
    inventory.inspected(running(started="2026-11-22T13:30:56.5Z"))  # after the signal
    assert b'"weight":0' not in inventory.flush().keys[KEY]


def test_unchanged_inspection_settles_a_deferred_signal():
    inventory = Inventory()
    inventory.listed([running()], [])
    inventory.event(event("container", "start", "c1", RUN_START + 10))  # a repeated event
    inventory.event(event("container", "kill", "c1", RUN_START + 20, signal="15"))
    inventory.inspected(running())
    assert inventory.flush().records["c1"].stopped_run == RUN_START
    inventory.event(event("container", "start", "c1", RUN_START + 10))
    inventory.event(event("container", "kill", "c1", RUN_START + 20, signal="15"))
    inventory.inspected(running(started="2026-11-22T13:31:00Z"))
    assert b'"weight":0' not in inventory.flush().keys[KEY]


def test_latest_time_of_a_repeated_signal_counts():
    inventory = Inventory()
    for when in (5, -5):
        inventory.event(event("container", "kill", "c1", RUN_START + when, signal="15"))
    inventory.inspected(running())
    assert inventory.flush().records["c1"].stopped_run == RUN_START


def test_list_drops_deferred_signals_of_missing_containers():
    inventory = Inventory()
    inventory.event(event("container", "kill", "c1", RUN_START + 5, signal="15"))
    inventory.listed([], [])
    inventory.inspected(running())
    assert inventory.flush().records["c1"].stopped_run == 0


def test_recorded_stop_holds_for_one_run_whatever_the_clock():
    inventory = Inventory()
    inventory.listed([running()], [])
    inventory.event(event("container", "kill", "c1", RUN_START + 10**12, signal="15"))
    inventory.listed([running()], [])
    assert b'"weight":0' in inventory.flush().keys[KEY]
    inventory.listed([running(started="2026-11-22T13:30:52Z")], [])
    assert b'"weight":0' not in inventory.flush().keys[KEY]


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def weight(inventory):
    inventory.flush()
    return msgspec.json.decode(inventory.keys[KEY]).get("weight", 10)


def test_survived_oom_drains_for_a_moment():
    clock = Clock()
    inventory = Inventory(clock=clock)
    inventory.listed([running()], [])
    assert inventory.event(event("container", "oom", "c1", RUN_START + 5)) == Inspection("container", "c1")
    assert weight(inventory) == 0
    inventory.inspected(running())
    assert inventory.flush().keys == {}
    assert inventory.looks() == []
    clock.now += OOM_SECONDS
    assert inventory.wait == 0
    assert inventory.looks() == [Inspection("container", "c1")]
    inventory.inspected(running())
    assert weight(inventory) == 10


def test_ignored_stop_signal_counts_until_the_engine_should_have_killed(caplog):
    clock = Clock()
    inventory = Inventory(clock=clock)
    inventory.listed([running(stop_timeout=20)], [])
    inventory.event(event("container", "kill", "c1", RUN_START + 5, signal="15"), live=True)
    for now in (0, 20):
        clock.now = now
        inventory.inspected(running(stop_timeout=20))
        assert weight(inventory) == 0
    clock.now = inventory.wait + 20
    assert inventory.looks() == [Inspection("container", "c1")]
    inventory.inspected(running(stop_timeout=20))
    assert inventory.flush().records["c1"].stopped_run == 0
    assert weight(inventory) == 10
    assert "docker: web goes on although it was signalled to stop: it has its weight again" in caplog.text
    inventory.event(event("container", "kill", "c1", RUN_START + 9, signal="15"), live=True)
    assert weight(inventory) == 0


def test_signal_that_was_outlived_is_so_for_the_next_node_which_catches_up_with_it():
    clock = Clock()
    inventory = Inventory(clock=clock)
    inventory.listed([running()], [])
    signal = event("container", "kill", "c1", RUN_START + 5, signal="15")
    inventory.event(signal, live=True)
    clock.now = inventory.wait
    inventory.inspected(running())
    assert weight(inventory) == 10
    again = Inventory(records=inventory.records, clock=clock)
    again.event(signal)
    again.listed([running()], [])
    assert weight(again) == 10
    again.event(signal)  # as after a reconnection
    assert weight(again) == 10
    again.event(signal, live=True)
    assert weight(again) == 0
    later = Inventory(records=again.records, clock=clock)
    later.listed([running()], [])
    assert weight(later) == 0


def test_time_of_a_recorded_stop_begins_anew_at_a_restart():
    clock = Clock()
    inventory = Inventory(records={"c1": ContainerRecord(RUN_START)}, clock=clock)
    inventory.listed([running()], [])
    assert weight(inventory) == 0
    clock.now = inventory.wait
    assert 10 < clock.now < 15
    inventory.listed([running()], [])
    assert weight(inventory) == 10


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize(("action", "signal"), [("kill", "15"), ("die", ""), ("oom", "")])
def test_live_event_is_about_the_present_run_whatever_the_clock(known, action, signal):
    inventory = Inventory()
    if known:
        inventory.listed([running()], [])
    inventory.event(event("container", action, "c1", RUN_START - 3600 * 10**9, signal=signal), live=True)
    inventory.inspected(running())
    assert weight(inventory) == (10 if action == "oom" and not known else 0)


def test_live_start_ends_what_came_before_it_even_if_an_inspection_was_quicker():
    inventory = Inventory()
    inventory.listed([running(started="2026-11-22T13:30:00Z")], [])
    inventory.inspected(running())  # of the next run already
    for action in ("kill", "die"):
        inventory.event(event("container", action, "c1", RUN_START - 5, signal="15"), live=True)
    inventory.event(event("container", "start", "c1", RUN_START), live=True)
    inventory.inspected(running())
    assert weight(inventory) == 10


def test_stops_and_addresses_are_recorded():
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
