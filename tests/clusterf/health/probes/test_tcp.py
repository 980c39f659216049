import socket
from contextlib import suppress
from ipaddress import IPv4Address, ip_address

import pytest
from msgspec.structs import replace

from clusterf.health.probes.tcp import new_socket, source_of
from clusterf.health.targets import Target
from clusterf.lib.addresses import Endpoint, parse_endpoint
from tests.clusterf.support.probe_checks import SHORT, TCP
from tests.servers import Server, full_backlog, stay_silent


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_server_that_accepts_connections_passes(runner, host):
    with Server(stay_silent, host=host) as server:
        result = runner.probe(server.endpoint, TCP)
    assert (result.ok, result.reason, result.local) == (True, "", False)
    assert 0 < result.duration < 1


def test_full_backlog_times_out(runner):
    with full_backlog() as busy:
        result = runner.probe(busy, replace(TCP, timeout=SHORT))
    assert (result.ok, result.reason) == (False, "timeout")
    assert SHORT * 0.9 < result.duration < SHORT + 1


def test_server_rarely_sees_the_connection_of_a_tcp_probe(runner):
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
        listener.setblocking(False)
        target = Target(Endpoint(IPv4Address("127.0.0.1").packed, listener.getsockname()[1]), TCP)
        for _ in range(10):
            assert all(result.ok for result in runner.probe_all([target] * 10))
        assert accepted(listener) < 50


def accepted(listener: socket.socket) -> int:
    """Accept all pending connections, also those that were reset, and return their number."""
    count = 0
    with suppress(BlockingIOError):
        while True:
            listener.accept()[0].close()
            count += 1
    return count


@pytest.mark.parametrize("source", ["127.0.0.9", "::1", None])
def test_new_socket_is_bound_to_its_source_without_a_port(source):
    family = socket.AF_INET6 if source == "::1" else socket.AF_INET
    with new_socket(family, source) as new:
        assert not new.getblocking()
        assert new.getsockname()[:2] == (source or "0.0.0.0", 0)


def test_source_is_that_of_the_family_of_the_target():
    check = replace(TCP, source4=ip_address("127.0.0.9"), source6=ip_address("::1"))
    assert source_of(Target(parse_endpoint("127.0.0.1:80"), check)) == "127.0.0.9"
    assert source_of(Target(parse_endpoint("[fd00::1]:80"), check)) == "::1"
    assert source_of(Target(parse_endpoint("127.0.0.1:80"), TCP)) is None
