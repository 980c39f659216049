from ipaddress import IPv4Address, IPv6Address
from unittest.mock import Mock

import pytest

from actors.docker import process
from actors.settings import Settings
from clusterf.docker.addresses import Addressing
from clusterf.docker.engine import EngineError
from clusterf.docker.inventory import Inventory
from clusterf.docker.labels import LabelRules
from clusterf.docker.routes import Routing
from clusterf.etcd.location import EtcdCredentials
from clusterf.sources.url import parse_source
from tests.waiting import wait_until

SOURCES = tuple(parse_source(f"etcd://127.0.0.1:9/{prefix}", EtcdCredentials()) for prefix in ("first", "last"))
DEFAULTS = {
    "node_name": "docker1",
    "sources": SOURCES,
    "noop": False,
    "docker_endpoint": "unix:///no/engine.sock",
    "docker_network": "",
    "docker_address": "container",
    "docker_services": (),
    "docker_max_weight": 65535,
    "docker_label_checks": "basic",
    "docker_stop_timeout": 10,
    "host_addresses": (),
    "route_networks": (),
    "resync_interval": 60.0,
    "etcd_ttl": 10,
    "exit_flush": False,
}


@pytest.fixture
def inventories(monkeypatch):
    """The addressing, the routing, the publisher and the rules of each inventory that is made."""
    made = []

    def inventory(addressing, routing, records, *, publisher, rules, stop_seconds):
        made.append((addressing, routing, publisher, rules, stop_seconds))
        return Inventory(addressing, routing, records, publisher, rules, stop_seconds)

    monkeypatch.setattr(process, "Inventory", inventory)
    return made


@pytest.fixture
def start(inventories, monkeypatch):
    """Start the actors of a process whose engine and etcd are unreachable; return their names in order."""
    monkeypatch.setattr(process, "Engine", Mock(side_effect=EngineError("unreachable")))
    started = []

    def start(**settings):
        fields = dict.fromkeys(Settings.__struct_fields__) | DEFAULTS | settings
        refs = process.start("docker", Settings(**fields), Mock())
        started.extend(refs)
        wait_until(lambda: inventories)
        return [ref.actor_class.__name__ for ref in refs]

    yield start
    for ref in started:
        ref.stop(timeout=20)


def test_watcher_comes_before_its_publisher(start):
    assert start() == ["DockerWatcher", "KeyPublisher"]


def test_noop_process_publishes_nothing(start):
    assert start(noop=True) == ["DockerWatcher", "NoopPublisher"]


@pytest.mark.parametrize(
    ("settings", "addressing"),
    [
        ({}, Addressing()),
        ({"docker_network": "front"}, Addressing(network="front")),
        (
            {"docker_address": "host", "host_addresses": ("2001:db8::1", "192.0.2.1")},
            Addressing(host=True, host4=IPv4Address("192.0.2.1"), host6=IPv6Address("2001:db8::1")),
        ),
    ],
)
def test_addresses_are_published_as_the_settings_say(start, inventories, settings, addressing):
    start(noop=True, **settings)
    assert inventories == [(addressing, Routing(), "docker1", LabelRules(), 10)]


def test_labels_may_ask_for_what_the_settings_say(start, inventories):
    start(noop=True, docker_services=("team-a-*",), docker_max_weight=7, docker_label_checks="full")
    assert inventories[0][3] == LabelRules(("team-a-*",), 7, full_checks=True)


def test_containers_may_take_as_long_to_stop_as_the_settings_say(start, inventories):
    start(noop=True, docker_stop_timeout=60)
    assert inventories[0][4] == 60


def test_networks_are_advertised_as_the_settings_say(start, inventories):
    start(
        noop=True,
        route_networks=("front", "back"),
        route_gateway4="192.0.2.1",
        route_gateway6="2001:db8::1",
        route_ipvs_method="tunnel",
    )
    gateways = IPv4Address("192.0.2.1"), IPv6Address("2001:db8::1")
    assert inventories == [
        (Addressing(), Routing(frozenset(["front", "back"]), *gateways, "tunnel"), "docker1", LabelRules(), 10)
    ]
