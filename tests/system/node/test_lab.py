"""The kernel in which the tests of IPVS run has what they need."""

import socket
import subprocess
from collections.abc import Iterator

import pytest

from clusterf.ipvs.table import SCHEDULERS
from tests.system.support.dataplane import inside, namespace

pytestmark = pytest.mark.ipvs


def ipvsadm(name: str, *arguments: str) -> str:
    with inside(name):
        return subprocess.run(["ipvsadm", *arguments], capture_output=True, text=True, check=True).stdout


@pytest.fixture
def empty() -> Iterator[str]:
    with namespace("lab") as name:
        yield name


def test_ipvsadm_lists_the_table(empty: str) -> None:
    assert ipvsadm(empty, "-Ln").startswith("IP Virtual Server version")


@pytest.mark.parametrize("scheduler", sorted(SCHEDULERS))
def test_every_scheduler_is_available(empty: str, scheduler: str) -> None:
    ipvsadm(empty, "-A", "-t", "10.107.107.107:80", "-s", scheduler)

    assert ipvsadm(empty, "-Sn") == f"-A -t 10.107.107.107:80 -s {scheduler}\n"


@pytest.mark.parametrize(("family", "address"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_lo_is_up(family: socket.AddressFamily, address: str) -> None:
    with socket.create_server((address, 0), family=family) as server:
        socket.create_connection(server.getsockname()[:2], timeout=5).close()


def test_network_namespace_has_its_own_table(empty: str) -> None:
    ipvsadm(empty, "-A", "-t", "10.107.107.107:80")

    with namespace("other") as other:
        assert ipvsadm(other, "-Sn") == ""
