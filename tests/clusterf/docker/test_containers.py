import time
from ipaddress import IPv4Address, IPv6Address, ip_network

import pytest

from clusterf.docker.containers import Attachment, Network, Published, container_of, network_of
from clusterf.docker.events import EngineEvent, event_of
from clusterf.docker.signals import signal_number
from clusterf.lib.addresses import Protocol
from tests.clusterf.support.fake_engine import NEVER, event, inspect, network

TCP, UDP, SCTP = Protocol.TCP, Protocol.UDP, Protocol.SCTP


def without(shape, *path):
    """Return a copy of `shape` in which the field at `path` is missing."""
    first, *rest = path
    return {k: without(v, *rest) if rest and k == first else v for k, v in shape.items() if rest or k != first}


def test_a_container_is_what_the_engine_says():
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
def test_a_container_between_two_runs_does_not_run(state, running):
    assert container_of(inspect(**state)).running is running
    assert not container_of(inspect(running=False)).running


@pytest.mark.parametrize("status", ["starting", "healthy", "unhealthy"])
def test_health_is_that_of_the_healthcheck(status):
    assert container_of(inspect(health=status)).health == status


@pytest.mark.parametrize("status", [None, "", "none", "so so"])
def test_without_a_healthcheck_there_is_no_health(status):
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
def test_a_start_is_known_to_the_nanosecond(text, nanoseconds):
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
def test_ports_are_exposed_one_by_one_or_in_ranges(exposed, ports):
    assert container_of(inspect(exposed=exposed)).exposed == ports


def test_very_many_ranges_cost_little_time():
    ranges = [f"{low}-65535/{protocol}" for low in range(1, 5001) for protocol in ("tcp", "udp", "sctp")]
    began = time.process_time()
    container = container_of(inspect(exposed=ranges))
    assert time.process_time() - began < 2
    assert len(container.exposed) == 3 * 65535


@pytest.mark.parametrize(
    "exposed", [["1-5/tcp", "3/tcp", "2-7/tcp", "9/tcp"], ["9/tcp", "7/tcp", "6/tcp", "1-6/tcp", "1/udp"]]
)
def test_ranges_may_overlap(exposed):
    ports = {port for protocol, port in container_of(inspect(exposed=exposed)).exposed if protocol is TCP}
    assert ports == {1, 2, 3, 4, 5, 6, 7, 9}


def test_a_port_that_only_the_hosts_side_names_is_exposed():
    assert container_of(inspect(exposed=[], bindings={"80/tcp": [{"HostIp": "", "HostPort": ""}]})).exposed == {
        (TCP, 80)
    }


def test_published_ports_that_lead_nowhere_are_none():
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
def test_what_engines_leave_out_is_absent(path, null):
    shape = without(inspect(), *path)
    if null and path not in (["Name"], ["State", "StartedAt"], ["State", "Paused"]):
        place = shape
        for word in path[:-1]:
            place = place[word]
        place[path[-1]] = None
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
def test_what_is_no_inspect_is_refused_with_a_reason(shape, reason):
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
def test_a_network_has_its_subnets_in_order(subnets, prefixes):
    assert network_of(network("n", *subnets)) == Network("id-of-n", "n", tuple(map(ip_network, prefixes)))


@pytest.mark.parametrize("ipam", [None, {}, {"Config": None}])
def test_a_network_may_have_no_subnets(ipam):
    assert network_of(network("host") | {"IPAM": ipam}).prefixes == ()


@pytest.mark.parametrize(
    "shape", [network("n", "172.17.0.0/99"), network("n", "x"), without(network("n"), "Name"), {"Id": "a/b"}]
)
def test_what_is_no_network_is_refused(shape):
    with pytest.raises(ValueError):
        network_of(shape)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        *[("15", 15), ("TERM", 15), ("SIGTERM", 15), (" sigterm ", 15), ("9", 9), ("SIGKILL", 9), ("USR1", 10)],
        *[("SIGRTMIN+3", 37), ("RTMAX-14", 50), ("RTMIN", 34), ("SIGSTKFLT", 16), ("WINCH", 28)],
        *[("", 0), ("SIGFOO", 0), ("TERM+1", 0), ("_DFL", 0), ("-1", 0), ("1000", 0), ("٩", 0), ("SIG", 0)],
    ],
)
def test_signals_go_by_number_or_name(text, number):
    assert signal_number(text) == number


@pytest.mark.parametrize("given", [None, "SIGFOO", ""])
def test_without_a_stop_signal_that_is_known_it_is_sigterm(given):
    assert container_of(inspect(stop_signal=given)).stop_signal == 15


@pytest.mark.parametrize(
    ("raw", "parsed"),
    [
        (event("container", "start", "c1", 5), EngineEvent("container", "start", "c1", 5)),
        (event("container", "kill", "c1", 5, signal="15"), EngineEvent("container", "kill", "c1", 5, 15)),
        (event("container", "start", "c1", 5, signal="15"), EngineEvent("container", "start", "c1", 5)),
        (event("container", "kill", "c1", 5), EngineEvent("container", "kill", "c1", 5, 0)),
        (event("container", "health_status: unhealthy", "c1", 5), EngineEvent("container", "health_status", "c1", 5)),
        (
            event("network", "connect", "n1", 5, container="c1"),
            EngineEvent("network", "connect", "n1", 5, container="c1"),
        ),
        (event("container", "start", "c1", 5, container="c2"), EngineEvent("container", "start", "c1", 5)),
        ({"Type": "daemon", "Action": "reload", "Actor": {}}, EngineEvent("daemon", "reload", "", 0)),
        (
            {"Type": "t", "Action": "a", "Actor": {"ID": "i", "Attributes": None}, "time": 7},
            EngineEvent("t", "a", "i", 7 * 10**9),
        ),
    ],
)
def test_an_event_is_what_the_engine_says(raw, parsed):
    assert event_of(raw) == parsed


@pytest.mark.parametrize("raw", [{}, {"status": "start", "id": "c1"}, [], {"Type": 1, "Action": "a", "Actor": {}}])
def test_what_is_no_event_is_refused(raw):
    with pytest.raises(ValueError, match="unexpected JSON"):
        event_of(raw)
