"""The etcd clusters that the tests of a module share."""

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from clusterf.etcd.client import Client
from tests.lab.etcd import EtcdCluster
from tests.system.support.etcd_client import connect
from tests.system.support.publisher import leases

PREFIXES = (f"clusterf/{number}" for number in count())


@pytest.fixture(scope="module")
def etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdCluster]:
    """One member, which every test leaves running."""
    with EtcdCluster(tmp_path_factory.mktemp("etcd")) as cluster:
        yield cluster


@pytest.fixture
def emptied(etcd: EtcdCluster) -> Iterator[None]:
    """Have `etcd` running without keys and leases again after the test."""
    yield
    etcd.start()
    with Client(etcd.location(), etcd.endpoints[0]) as client:
        for lease in leases(etcd):
            client.revoke(lease)
    etcd.ctl("del", "", "--from-key")


@pytest.fixture
def client(etcd: EtcdCluster) -> Iterator[Client]:
    """A client of it, with a prefix of its own."""
    with connect(etcd, prefix=next(PREFIXES)) as client:
        yield client


@pytest.fixture
def doomed(tmp_path: Path) -> Iterator[EtcdCluster]:
    """One member for a single test, which may break it."""
    with EtcdCluster(tmp_path / "etcd") as cluster:
        yield cluster


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdCluster]:
    """Three members, which every test leaves running."""
    with EtcdCluster(tmp_path_factory.mktemp("three"), 3) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdCluster]:
    """One member that requires a password, with tokens that expire soon."""
    with EtcdCluster(tmp_path_factory.mktemp("guarded"), auth=True, token_ttl=1) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def encrypted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdCluster]:
    """One member that requires TLS and client certificates."""
    with EtcdCluster(tmp_path_factory.mktemp("tls"), tls=True, client_certificates=True) as cluster:
        yield cluster
