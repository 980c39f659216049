"""Probes in a network of their own: unreachable targets, blackholes, a lack of local ports."""

import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path

import pytest

from clusterf.config.model import HealthCheck
from clusterf.health.verdict import ProbeResult
from clusterf.lib.addresses import Endpoint
from tests.clusterf.support.probe_runner import ProbeRunner, probe_runner
from tests.servers import Server, stay_silent
from tests.system.support.netns import network_namespace

pytestmark = pytest.mark.ipvs

TIMEOUT = 0.5  # seconds
CHECKS = {
    "tcp": HealthCheck(timeout=TIMEOUT),
    "http": HealthCheck(type="http", timeout=TIMEOUT),
    "http client": HealthCheck(type="http", redirects=1, timeout=TIMEOUT),
    "https": HealthCheck(type="https", timeout=TIMEOUT),
}

# a veth pair whose peer has none of these addresses; permanent neighbours make the kernel send packets all the same
NETWORK = """
link add here type veth peer name there
link set here up
link set there up
addr add 10.9.0.1/24 dev here
addr add fd00:9::1/64 dev here nodad
neigh add 10.9.0.2 dev here lladdr 02:00:00:00:00:02
neigh add fd00:9::2 dev here lladdr 02:00:00:00:00:02
route add unreachable 10.9.1.0/24
route add unreachable fd00:9:1::/64
route add blackhole 10.9.2.0/24
route add blackhole fd00:9:2::/64
route add prohibit 10.9.3.0/24
route add prohibit fd00:9:3::/64
"""


@pytest.fixture(scope="module", autouse=True)
def network() -> Iterator[None]:
    with network_namespace():
        subprocess.run(["ip", "-batch", "-"], input=NETWORK, text=True, check=True)
        yield


@pytest.fixture(params=CHECKS)
def check(request: pytest.FixtureRequest) -> HealthCheck:
    return CHECKS[request.param]


@pytest.fixture
def runner() -> Iterator[ProbeRunner]:
    with probe_runner() as runner:
        yield runner


def probe(runner: ProbeRunner, address: str, check: HealthCheck, port: int = 80) -> ProbeResult:
    return runner.probe(Endpoint(ip_address(address).packed, port), check)


@pytest.mark.parametrize("address", ["10.9.0.2", "fd00:9::2"])
def test_blackholed_target_times_out(runner: ProbeRunner, check: HealthCheck, address: str) -> None:
    result = probe(runner, address, check)
    assert (result.ok, result.reason, result.local) == (False, "timeout", False)
    assert TIMEOUT * 0.9 < result.duration < TIMEOUT + 1


@pytest.mark.parametrize(
    "address",
    ["10.9.1.1", "fd00:9:1::1", "10.9.2.1", "fd00:9:2::1", "10.9.3.1", "fd00:9:3::1", "10.10.0.1", "fd00:10::1"],
)
def test_target_without_a_route_fails(runner: ProbeRunner, check: HealthCheck, address: str) -> None:
    result = probe(runner, address, check)
    assert (result.ok, result.reason, result.local) == (False, "no route", False)


@contextmanager
def local_ports(first: int, last: int) -> Iterator[None]:
    """Limit connections to these local ports."""
    ports = Path("/proc/sys/net/ipv4/ip_local_port_range")
    before = ports.read_text()
    ports.write_text(f"{first} {last}")
    try:
        yield
    finally:
        ports.write_text(before)


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_probe_that_connects_to_itself_is_refused(runner: ProbeRunner, address: str) -> None:
    with local_ports(40000, 40000):
        assert probe(runner, address, CHECKS["tcp"], 40000).reason == "refused"


def test_lack_of_local_ports_is_a_local_failure(runner: ProbeRunner, check: HealthCheck) -> None:
    with Server(stay_silent) as server, local_ports(40000, 40000):
        with socket.create_connection((server.host, server.port)):
            result = runner.probe(server.endpoint, check)
        assert (result.ok, result.local) == (False, True)
        assert result.reason == "no such source address, or out of local ports"
