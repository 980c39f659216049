import json
import time
from ipaddress import IPv4Address

import msgspec
import pytest

from clusterf.docker.addresses import Addressing
from clusterf.docker.containers import container_of, network_of
from clusterf.docker.inventory import Inspection, Inventory
from clusterf.docker.labels import LabelRules
from clusterf.docker.record import ContainerRecord
from clusterf.docker.routes import Routing
from tests.clusterf.support.fake_engine import event, inspect, network, running

KEY = b"services/web/backends/c1"
RUN_START = running().started_at


def test_removed_container_is_not_restored_by_stale_answers():
    inventory = Inventory()
    inventory.listed([running()], [])
    inventory.event(event("container", "destroy", "c1"))
    inventory.inspected(running())
    inventory.listed([running()], [])
    inventory.event(event("container", "kill", "c1", signal="15"))
    assert inventory.event(event("container", "start", "c1")) is None
    inventory.flush()
    assert (inventory.keys, inventory.records) == ({}, {})


def test_list_removes_what_is_not_in_it():
    inventory = Inventory(routing=Routing(frozenset(["front"])), records={"c9": ContainerRecord(5)})
    inventory.listed([running(), running("c2")], [network_of(network("front", "10.1.0.0/16"))])
    assert inventory.flush().records["c9"] is None
    assert len(inventory.keys) == 3
    inventory.listed([running("c2")], [])
    changes = inventory.flush()
    assert changes.keys == {KEY: None, b"routes/id-of-front": None}
    assert changes.records == {"c1": None}
    assert list(inventory.keys) == [b"services/web/backends/c2"]


def test_unread_object_keeps_its_last_known_state():
    inventory = Inventory(routing=Routing(frozenset(["front"])))
    inventory.listed([running()], [network_of(network("front", "10.1.0.0/16"))])
    wanted = dict(inventory.flush().keys)
    inventory.listed([], [], unread=["c1", "id-of-front", "never-seen"])
    assert inventory.flush().keys == {}
    assert inventory.keys == wanted


def test_unchanged_list_changes_nothing():
    inventory = Inventory(routing=Routing(frozenset(["front"])))
    everything = [running(), running("c2", labels={"backend.tcp": "x"})], [network_of(network("front", "10.1.0.0/16"))]
    inventory.listed(*everything)
    inventory.flush()
    inventory.listed(*everything)
    assert not any(inventory.flush())


@pytest.mark.parametrize(
    ("raw", "inspection"),
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
def test_event_calls_for_an_inspection_if_it_is_relevant(raw, inspection):
    inventory = Inventory()
    inventory.listed([running(), container_of(inspect("plain"))], [])
    assert inventory.event(raw) == inspection


def test_invalid_event_is_refused():
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


def test_advertised_network_without_subnets_is_reported():
    inventory = Inventory(routing=Routing(frozenset(["host"])))
    inventory.inspected(network_of(network("host")))
    (problem,) = inventory.flush().problems["id-of-host"]
    assert str(problem) == "docker: host: no subnet to advertise"
    inventory.vanished("id-of-host")
    assert inventory.flush().problems == {"id-of-host": ()}


def test_problems_are_reported_when_they_begin_and_end():
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


def test_each_service_of_a_container_has_a_key():
    inventory = Inventory()
    inventory.listed([running(labels={"service": "web api", "backend:api.weight": "3"})], [])
    assert inventory.flush().keys == {
        KEY: b'{"ipv4":"172.17.0.2","tcp":8080}',
        b"services/api/backends/c1": b'{"ipv4":"172.17.0.2","tcp":8080,"weight":3}',
    }


def test_stopped_container_keeps_its_host_port():
    inventory = Inventory(Addressing(host=True, host4=IPv4Address("192.0.2.1")))
    inventory.listed([running(ports={"8080/tcp": [{"HostIp": "0.0.0.0", "HostPort": "32768"}]})], [])
    assert inventory.flush().keys == {KEY: b'{"ipv4":"192.0.2.1","tcp":32768}'}
    inventory.inspected(running(running=False, networks={"bridge": ""}))
    assert inventory.flush().keys == {KEY: b'{"ipv4":"192.0.2.1","tcp":32768,"weight":0}'}


def test_checks_of_containers_of_one_service_are_their_own():
    inventory = Inventory()
    inventory.listed(
        [running(labels={"health": "tcp"}), running("c2", labels={"health": "http:/x"}), running("c3")], []
    )
    keys = inventory.flush().keys
    assert {path: json.loads(value).get("health") for path, value in keys.items()} == {
        KEY: {"from": "label"},
        b"services/web/backends/c2": {"type": "http", "path": "/x", "from": "label"},
        b"services/web/backends/c3": None,
    }
    inventory.vanished("c2")
    assert inventory.flush().keys == {b"services/web/backends/c2": None}


def test_rules_hold_for_all_containers():
    inventory = Inventory(rules=LabelRules(services=("api",)))
    inventory.listed([running()], [])
    assert inventory.flush().keys == {}


def test_cost_of_an_event_does_not_grow_with_the_inventory():
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


@pytest.mark.parametrize("found_first", [True, False])
def test_container_whose_record_is_lost_stays_where_its_key_says_if_it_still_has_that_address(found_first):
    inventory = Inventory()
    container = running(networks={"front": "172.31.0.2", "back": "172.30.0.2"})
    found = {b"services/web/backends/c1": b'{"ipv4":"172.30.0.2","tcp":8080}'}
    if found_first:
        inventory.found(found)
    inventory.inspected(container)
    if not found_first:
        assert inventory.flush().keys == {}
        inventory.found(found)
    assert inventory.flush().keys == {b"services/web/backends/c1": b'{"ipv4":"172.30.0.2","tcp":8080}'}
    inventory.inspected(running(networks={"front": "172.31.0.2", "back": "172.30.0.9"}))
    assert b"172.30.0.9" in inventory.flush().keys[b"services/web/backends/c1"]  # it has a record now


def test_records_of_another_engine_are_dropped():
    container = running(networks={"front": "172.31.0.2"})
    before = Inventory()
    before.inspected(container)
    inventory = Inventory(records=before.records)
    inventory.disown()
    assert inventory.records == {}
    assert inventory.flush().records == {"c1": None}
