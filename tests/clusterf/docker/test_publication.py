from ipaddress import IPv4Address

import pytest

from clusterf.config.decode import decode
from clusterf.config.keys import parse_key
from clusterf.config.model import Backend
from clusterf.docker.addresses import Addressing, ContainerAddress
from clusterf.docker.containers import container_of, network_of
from clusterf.docker.labels import LabelRules
from clusterf.docker.publication import (
    NOTHING,
    addresses_of,
    container_address,
    container_publication,
    network_publication,
)
from clusterf.docker.routes import Routing
from tests.clusterf.support.fake_engine import NEVER, inspect, network

WEB = {"service": "web", "backend.tcp": "8080"}
KEY = b"services/web/backends/c1"
LAST = ContainerAddress("id-of-bridge", IPv4Address("172.17.0.9"))


def publication(labels=WEB, *, last=None, stopping=False, **state):
    return container_publication(container_of(inspect(labels=labels, **state)), Addressing(), last, stopping=stopping)


@pytest.mark.parametrize(
    ("labels", "networks", "value"),
    [
        (WEB, {"bridge": "172.17.0.2"}, b'{"ipv4":"172.17.0.2","tcp":8080}'),
        (WEB | {"backend.weight": "0"}, {"bridge": "172.17.0.2"}, b'{"ipv4":"172.17.0.2","tcp":8080,"weight":0}'),
        (
            {"service": "web", "backend.udp": "53", "backend.sctp": "9", "backend.weight": "20"},
            {"bridge": " fd00::2"},
            b'{"ipv6":"fd00::2","udp":53,"sctp":9,"weight":20}',
        ),
    ],
)
def test_backend_is_published_as_the_configuration_has_it(labels, networks, value):
    published = publication(labels, networks=networks, exposed=["8080/tcp", "53/udp", "9/sctp"])
    assert published.keys == {KEY: value}
    decoded = decode("etcd", KEY, parse_key(KEY), value)
    assert (type(decoded.value), decoded.problems) == (Backend, ())


@pytest.mark.parametrize(
    ("state", "weight"),
    [
        ({}, b""),
        ({"health": "starting"}, b""),
        ({"health": "healthy"}, b""),
        ({"health": "unhealthy"}, b',"weight":0'),
        ({"Paused": True}, b',"weight":0'),
        ({"Restarting": True}, b',"weight":0'),
        ({"running": False}, b',"weight":0'),
        ({"stopping": True}, b',"weight":0'),
    ],
)
def test_weight_follows_the_state_of_the_container(state, weight):
    assert publication(**state).keys == {KEY: b'{"ipv4":"172.17.0.2","tcp":8080' + weight + b"}"}


def test_container_without_an_address_keeps_its_last_one_at_weight_0():
    assert publication(networks={"bridge": ""}, last=LAST).keys == {KEY: b'{"ipv4":"172.17.0.9","tcp":8080,"weight":0}'}


@pytest.mark.parametrize(("labels", "state"), [({}, {}), (WEB, {"running": False, "started": NEVER})])
def test_container_without_labels_or_that_never_ran_publishes_nothing(labels, state):
    assert publication(labels, **state) == NOTHING


def test_check_is_published_with_each_backend_of_the_container():
    labels = WEB | {"service": "web api", "health": "http:/x"}
    value = b'{"ipv4":"172.17.0.2","tcp":8080,"health":{"type":"http","path":"/x","from":"label"}}'
    keys = publication(labels).keys
    assert keys == {KEY: value, b"services/api/backends/c1": value}
    assert decode("etcd", KEY, parse_key(KEY), value).value.health.origin == "label"


def test_check_that_is_none_is_published_as_invalid():
    value = b'{"ipv4":"172.17.0.2","tcp":8080,"health":{"from":"invalid"}}'
    assert publication(WEB | {"health": "ping"}).keys == {KEY: value}


def test_check_at_the_host_is_at_a_published_port_also_when_the_container_has_stopped():
    at_host = Addressing(host=True, host4=IPv4Address("192.0.2.1"))
    ports = {"8080/tcp": [{"HostIp": "", "HostPort": "32768"}]}
    for port, refused in ((32768, False), (8080, True)):
        labels = WEB | {"health": f'{{"port":{port}}}'}
        container = container_of(inspect(labels=labels, ports=ports))
        last = container_address(container, at_host, None)
        stopped = container_of(inspect(labels=labels, running=False, networks={}))
        for state in (container, stopped):
            published = container_publication(state, at_host, last, stopping=False)
            assert bool(published.problems) is refused
            assert (b'"port":' in published.keys[KEY]) is not refused


def test_publication_is_within_the_rules():
    container = container_of(inspect(labels=WEB | {"backend.weight": "99"}))
    for rules, weights in ((LabelRules(max_weight=7), [b'"weight":7}']), (LabelRules(("x*",)), [])):
        published = container_publication(container, Addressing(), None, stopping=False, rules=rules)
        assert [value.rpartition(b",")[2] for value in published.keys.values()] == weights
        assert len(published.problems) == 1


def test_problems_of_labels_and_of_the_address_are_reported():
    problems = publication(WEB | {"network": "front", "color": "red"}).problems
    assert [(str(problem), problem.fatal) for problem in problems] == [
        ("docker: web: color: unknown label", False),
        ("docker: web: network: not connected to network front", True),
    ]


def test_address_of_a_container_is_the_present_or_the_last_one():
    running = container_of(inspect(labels=WEB))
    stopped = container_of(inspect(labels=WEB, running=False, networks={}))
    address = container_address(running, Addressing(), LAST)
    assert address == ContainerAddress("id-of-bridge", IPv4Address("172.17.0.2"))
    assert container_address(stopped, Addressing(), address) == address
    assert container_address(stopped, Addressing(), None) is None


def test_advertised_network_without_a_subnet_is_reported():
    routing = Routing(frozenset(["host"]))
    published = network_publication(network_of(network("host")), routing)
    assert [str(problem) for problem in published.problems] == ["docker: host: no subnet to advertise"]
    assert network_publication(network_of(network("other")), routing) == NOTHING


def test_backend_carries_its_publisher():
    container = container_of(inspect(labels=WEB))
    published = container_publication(container, Addressing(), None, stopping=True, publisher="docker1")
    assert published.keys == {KEY: b'{"ipv4":"172.17.0.2","tcp":8080,"weight":0,"publisher":"docker1"}'}


def test_addresses_of_keys_are_those_of_containers_by_id():
    keys = {
        b"services/web/backends/c1": b'{"ipv4": "10.0.0.1", "tcp": 80}',
        b"services/dns/backends/c1": b'{"ipv6": "2001:db8::1", "udp": 53}',
        b"services/web/backends/c2": b"[",
        b"services/web/frontend": b'{"ipv4": "10.0.0.2"}',
        b"routes/c3": b"{}",
    }
    assert addresses_of(keys) == {"c1": {"10.0.0.1", "2001:db8::1"}}
