"""Fixtures for tests of whole nodes."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.docker import Engine, missing
from tests.system.support.netns import network_namespace
from tests.system.support.node import Node, Tree


@pytest.fixture
def namespace() -> Iterator[None]:
    """Move the test, and the nodes that it starts, into a network namespace of its own."""
    with network_namespace():
        yield


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """An empty configuration."""
    tree = Tree(tmp_path / "tree")
    tree.clear()
    return tree


@pytest.fixture
def node(namespace: None, tmp_path: Path, tree: Tree) -> Node:
    """A node on that configuration; the test starts it."""
    return Node(tmp_path, tree)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Node, Tree]]:
    """A node that is shared by the tests of a module, through `live`."""
    folder = tmp_path_factory.mktemp("live")
    tree = Tree(folder / "tree")
    tree.clear()
    with network_namespace(), Node(folder, tree, flags=["--removal-hold", "0"]) as node:
        yield node, tree


@pytest.fixture
def live(running: tuple[Node, Tree]) -> tuple[Node, Tree]:
    """A running node with an empty configuration and table, and its tree."""
    node, tree = running
    tree.clear()
    node.wait_for_table([])
    node.forget()
    return node, tree


@pytest.fixture(scope="module")
def running_engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """A Docker engine that is shared by the tests of a module, through `engine`."""
    if reason := missing():
        pytest.skip(reason)
    with Engine(tmp_path_factory.mktemp("docker")) as engine:
        yield engine


@pytest.fixture
def engine(running_engine: Engine) -> Iterator[Engine]:
    """A running Docker engine, without live-restore and without containers."""
    yield running_engine
    if running_engine.live_restore:
        running_engine.restart(live_restore=False)
    running_engine.start()
    running_engine.clear()
