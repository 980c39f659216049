import time
from ipaddress import IPv4Address, IPv6Address, ip_network

import pytest

from clusterf.docker.containers import Attachment, Network, Published, container_of, network_of
from clusterf.lib.addresses import Protocol
from tests.clusterf.support.fake_engine import NEVER, inspect, network

TCP, UDP, SCTP = Protocol.TCP, Protocol.UDP, Protocol.SCTP


def without(shape, *path):
    """Return a copy of `shape` in which the field at `path` is missing."""
    first, *rest = path
    return {k: without(v, *rest) if rest and k == first else v for k, v in shape.items() if rest or k != first}


def test_container_has_the_fields_of_the_inspection():
    container = container_of(
        inspect(
            "f00",
            "/web",
            labels={"service": "web"},
            exposed=["8080/tcp", "5353/udp"],
            networks={"front": "172.31.3.2 fdd0:1ab:6::2", "bridge": "172.17.0.2"},
            ports={"8080/tcp": [{"HostIp": "0.0.0.0", "HostPort": "32768"}], "5353/udp": None},
            health="healthy",
            stop_signal="SIGQUIT",
        )
    )
    assert (container.id, container.name, container.labels) == ("f00", "web", {"service": "web"})
    assert container.exposed == {(TCP, 8080), (UDP, 5353)}
    assert container.published == (Published(TCP, 8080, "0.0.0.0", 32768),)
    assert container.attachments == (
        Attachment("bridge", "id-of-bridge", IPv4Address("172.17.0.2"), None),
        Attachment("front", "id-of-front", IPv4Address("172.31.3.2"), IPv6Address("fdd0:1ab:6::2")),
    )
    assert (container.running, container.paused, container.health, container.stop_signal) == (True, False, "healthy", 3)


@pytest.mark.parametrize(
    ("state", "running"),
    [({}, True), ({"Paused": True}, True), ({"Restarting": True}, False), ({"Dead": True}, False)],
)
def test_restarting_or_dead_container_is_not_running(state, running):
    assert container_of(inspect(**state)).running is running
    assert not container_of(inspect(running=False)).running


@pytest.mark.parametrize("status", ["starting", "healthy", "unhealthy"])
def test_health_is_that_of_the_healthcheck(status):
    assert container_of(inspect(health=status)).health == status


@pytest.mark.parametrize("status", [None, "", "none", "so so"])
def test_container_without_a_healthcheck_has_no_health(status):
    assert container_of(inspect(health=status)).health == "none"


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        (NEVER, 0),
        ("0001-01-01T00:00:00+14:00", 0),
        ("", 0),
        ("1970-01-01T00:00:01Z", 10**9),
        ("1970-01-01T00:00:01.5Z", 1_500_000_000),
        ("1970-01-01T00:00:01.000000001Z", 1_000_000_001),
        ("1970-01-01T01:00:01.000000001+01:00", 1_000_000_001),
        ("1969-12-31T00:00:00Z", 0),
    ],
)
def test_start_time_has_nanoseconds(text, nanoseconds):
    assert container_of(inspect(started=text)).started_at == nanoseconds


@pytest.mark.parametrize(
    ("exposed", "ports"),
    [
        ([], set()),
        (["80"], {(TCP, 80)}),
        (["80/TCP", "53/udp", "9/sctp"], {(TCP, 80), (UDP, 53), (SCTP, 9)}),
        (["8000-8002/udp"], {(UDP, 8000), (UDP, 8001), (UDP, 8002)}),
        (["0/tcp", "65536/tcp", "9-8/tcp", "80/icmp", "x", "", "80/tcp\n", "-1/tcp", "٨/tcp"], set()),
    ],
)
def test_exposed_ports_are_single_or_ranges(exposed, ports):
    assert container_of(inspect(exposed=exposed)).exposed == ports


def test_many_overlapping_ranges_are_parsed_quickly():
    ranges = [f"{low}-65535/{protocol}" for low in range(1, 5001) for protocol in ("tcp", "udp", "sctp")]
    began = time.process_time()
    container = container_of(inspect(exposed=ranges))
    assert time.process_time() - began < 2
    assert len(container.exposed) == 3 * 65535


@pytest.mark.parametrize(
    "exposed", [["1-5/tcp", "3/tcp", "2-7/tcp", "9/tcp"], ["9/tcp", "7/tcp", "6/tcp", "1-6/tcp", "1/udp"]]
)
def test_overlapping_ranges_are_merged(exposed):
    ports = {port for protocol, port in container_of(inspect(exposed=exposed)).exposed if protocol is TCP}
    assert ports == {1, 2, 3, 4, 5, 6, 7, 9}


def test_port_with_a_binding_only_is_exposed():
    assert container_of(inspect(exposed=[], bindings={"80/tcp": [{"HostIp": "", "HostPort": ""}]})).exposed == {
        (TCP, 80)
    }


def test_invalid_or_empty_bindings_are_left_out():
    ports = {
        "80/tcp": [{"HostIp": "", "HostPort": ""}, {"HostIp": "fd00:0::1", "HostPort": "81"}],
        "x/tcp": [{"HostIp": "", "HostPort": "1"}],
        "1-2/tcp": [{"HostIp": "", "HostPort": "1"}],
        "81/tcp": [{"HostIp": "", "HostPort": "1-2"}],
    }
    assert container_of(inspect(ports=ports)).published == (Published(TCP, 80, "fd00::1", 81),)


@pytest.mark.parametrize(
    "path",
    [
        ["Name"],
        ["HostConfig"],
        ["State", "StartedAt"],
        ["State", "Paused"],
        ["Config", "Labels"],
        ["Config", "ExposedPorts"],
        ["NetworkSettings", "Networks"],
        ["NetworkSettings", "Ports"],
    ],
)
@pytest.mark.parametrize("null", [False, True])
def test_missing_or_null_fields_are_accepted(path, null):
    shape = without(inspect(), *path)
    if null and path not in (["Name"], ["State", "StartedAt"], ["State", "Paused"]):
        parent = shape
        for word in path[:-1]:
            parent = parent[word]
        parent[path[-1]] = None
    container_of(shape)


@pytest.mark.parametrize(
    ("shape", "reason"),
    [
        (without(inspect(), "Id"), "Id"),
        (without(inspect(), "State"), "State"),
        (without(inspect(), "NetworkSettings"), "NetworkSettings"),
        (inspect(Running="yes"), "bool"),
        (inspect("../../etc"), "not an id"),
        (inspect(""), "not an id"),
        (inspect("x" * 200), "not an id"),
        (inspect(started="yesterday"), "not an RFC 3339 time"),
        (inspect(started="2026-13-01T00:00:00Z"), "month"),
        (inspect(started="9999-12-31T00:00:00Z"), "out of range"),
        (inspect(networks={"bridge": "172.17.0"}), "not an IPv4 address"),
        (inspect(networks={"bridge": " fe80::1%eth0"}), "not an IPv6 address"),
        ([], "object"),
    ],
)
def test_invalid_inspection_is_refused_with_a_reason(shape, reason):
    with pytest.raises(ValueError, match=reason):
        container_of(shape)


@pytest.mark.parametrize(
    ("subnets", "prefixes"),
    [
        ([], []),
        ([""], []),
        (["172.17.0.0/16"], ["172.17.0.0/16"]),
        (["fd00::/64", "172.17.5.0/16"], ["172.17.0.0/16", "fd00::/64"]),
        (["10.9.0.0/16", "10.8.0.0/16", "10.8.0.0/16"], ["10.8.0.0/16", "10.9.0.0/16"]),
    ],
)
def test_subnets_of_a_network_are_sorted(subnets, prefixes):
    assert network_of(network("n", *subnets)) == Network("id-of-n", "n", tuple(map(ip_network, prefixes)))


@pytest.mark.parametrize("ipam", [None, {}, {"Config": None}])
def test_network_without_ipam_has_no_subnets(ipam):
    assert network_of(network("host") | {"IPAM": ipam}).prefixes == ()


@pytest.mark.parametrize(
    "shape", [network("n", "172.17.0.0/99"), network("n", "x"), without(network("n"), "Name"), {"Id": "a/b"}]
)
def test_invalid_network_is_refused(shape):
    with pytest.raises(ValueError):
        network_of(shape)


@pytest.mark.parametrize("given", [None, "SIGFOO", ""])
def test_unknown_stop_signal_is_sigterm(given):
    assert container_of(inspect(stop_signal=given)).stop_signal == 15
