"""The etcd clusters that the tests of a module share."""

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from clusterf.etcd.client import Client
from tests.lab.etcd import EtcdCluster
from tests.system.support.etcd_client import connect
from tests.system.support.etcd_config import SERVICES, Config, EtcdNode, etcd_node
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


@pytest.fixture
def config(etcd: EtcdCluster) -> Iterator[Config]:
    """A configuration on the one server."""
    config = Config(etcd)
    config.change(*SERVICES)
    yield config
    etcd.start()


@pytest.fixture
def shared(three: EtcdCluster) -> Iterator[Config]:
    """A configuration on three servers."""
    config = Config(three)
    config.change(*SERVICES)
    yield config
    three.start()


@pytest.fixture
def node(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[EtcdNode]:
    """A node that follows the test's configuration, and ends with exactly its table."""
    config: Config = request.getfixturevalue("shared" if "shared" in request.fixturenames else "config")
    with etcd_node(tmp_path / "node", config.cluster.url(config.prefix)) as node:
        node.wait_for_shadow(config.table)
        yield node
        node.wait_for_shadow(config.table)
