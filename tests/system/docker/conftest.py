"""Fixtures for tests of a node with the role docker, a real engine and a real etcd."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from docker.models.containers import Container

from tests.lab.docker import Engine, missing
from tests.lab.etcd import EtcdCluster
from tests.system.support.docker_node import LASTING, DockerNode, Published, labels


@pytest.fixture(scope="module")
def etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdCluster]:
    with EtcdCluster(tmp_path_factory.mktemp("etcd")) as cluster:
        yield cluster


@pytest.fixture
def published(etcd: EtcdCluster) -> Iterator[Published]:
    etcd.start()
    yield Published(etcd)
    etcd.start()


@pytest.fixture
def node(tmp_path: Path, engine: Engine, published: Published) -> Iterator[DockerNode]:
    """A node for the engine, started by the test; a failure shows its log."""
    node = DockerNode(tmp_path / "node", engine.url, published)
    with node.explained():
        yield node


@pytest.fixture
def lasting_node(tmp_path: Path, engine: Engine, published: Published) -> Iterator[DockerNode]:
    """A node for the engine whose keys outlive any restart, however slow the machine is."""
    node = DockerNode(tmp_path / "node", engine.url, published, *LASTING)
    with node.explained():
        yield node


@pytest.fixture
def other_engine(tmp_path: Path) -> Iterator[Engine]:
    """An engine of this test only, which ends in a moment, however many containers it has."""
    if reason := missing():
        pytest.skip(reason)
    with Engine(tmp_path / "other-engine") as engine:
        yield engine


@pytest.fixture
def container(engine: Engine) -> Container:
    return engine.run(labels=labels())
