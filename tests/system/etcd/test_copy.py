"""etcd is down at the start, or returns with other data: nodes use their last-good copy, and the table ends exact."""

import os
import signal
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.lab.etcd import EtcdCluster
from tests.system.support.etcd_config import (
    SERVICES,
    Config,
    EtcdNode,
    compact,
    deleted_backend,
    etcd_node,
)
from tests.waiting import wait_until

HOLDING = "holding removals"


def test_restored_etcd_is_followed_exactly(tmp_path: Path) -> None:
    with EtcdCluster(tmp_path / "etcd") as cluster:
        config = Config(cluster, "clusterf")
        config.change(*SERVICES)
        for weight in range(5, 10):
            config.change((1, 1, weight))
        with etcd_node(tmp_path / "node", cluster.url()) as node:
            node.wait_for_shadow(config.table)
            cluster.kill()
            cluster.start(wipe=True)
            config.services.clear()
            node.wait_for_log(HOLDING)
            node.send(signal.SIGUSR2)
            node.wait_for_shadow([])
            config.change((1, 1, 3))
            node.wait_for_shadow(config.table)
            config.change(*SERVICES)
            node.wait_for_shadow(config.table)

            node.forget()
            cluster.kill()
            restored = config.table
            node.pause()
            cluster.start(wipe=True)
            config.services.clear()
            config.change((1, 2, 10), (7, 1, 1))
            assert config.table != restored
            node.resume()
            node.wait_for_log(HOLDING)
            node.send(signal.SIGUSR2)
            wait_until(lambda: node.tables[-1] == config.table)
            assert deleted_backend(1, 2) not in node.deletions
            config.change((7, 1, None))
            wait_until(lambda: node.tables[-1] == config.table)


def test_no_operation_until_etcd_responds_if_there_is_no_copy(config: Config, tmp_path: Path) -> None:
    config.cluster.kill()
    with etcd_node(tmp_path, config.cluster.url(config.prefix)) as node:
        node.wait_for_log("nothing is written until it responds")
        assert not node.operations
        assert not node.tables
        config.cluster.start()
        node.wait_for_shadow(config.table)
        assert node.deletions == []


@pytest.fixture
def stopped(config: Config, tmp_path: Path) -> EtcdNode:
    """A node that has a copy, stopped, as etcd is."""
    node = etcd_node(tmp_path / "node", config.cluster.url(config.prefix))
    with node:
        node.wait_for_shadow(config.table)
        config.change((1, 1, 11))
        node.wait_for_shadow(config.table)
    config.cluster.kill()
    return node


def test_copy_is_used_and_changes_are_applied_afterwards(config: Config, stopped: EtcdNode) -> None:
    with stopped as node:
        node.wait_for_log(r"using the last-good copy of revision \d+, \d seconds old")
        node.wait_for_shadow(config.table)
        before = node.operations
        node.kill("config")
        node.wait_for_log("using the last-good copy", 2)
        config.cluster.start()
        config.change((1, 1, None), (1, 2, 3))
        node.wait_for_shadow(config.table)
        edit = "ipvsadm -e -t 10.107.0.1:80 -r 10.1.0.2:80 -m -w 3"
        assert sorted(node.operations[len(before) :]) == [deleted_backend(1, 1), edit]


def test_deletions_while_the_node_was_down_are_applied_once_etcd_is_back(config: Config, stopped: EtcdNode) -> None:
    before = config.table
    config.cluster.start()
    config.change((1, 1, None), (1, 2, None))
    compact(config)
    config.cluster.kill()
    with stopped as node:
        node.wait_for_shadow(before)
        assert node.deletions == []
        config.cluster.start()
        node.wait_for_shadow(config.table)
        assert sorted(node.deletions) == [deleted_backend(1, 1), deleted_backend(1, 2)]


def flip(file: Path) -> None:
    """Damage what the copy holds."""
    data = file.read_bytes()
    place = data.rindex(b'"weight"')
    file.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])


def scribble(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[100:2000] = os.urandom(1900)
    file.write_bytes(data)


def truncate(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


def make_foreign(file: Path) -> None:
    file.unlink()
    with sqlite3.connect(file) as db:
        db.execute("CREATE TABLE entries (a)")
    db.close()


@pytest.mark.parametrize("damage", [flip, scribble, truncate, make_foreign])
def test_damaged_or_foreign_copy_is_reported_and_ignored(
    config: Config, stopped: EtcdNode, damage: Callable[[Path], None]
) -> None:
    file = stopped.state / "config.db"
    with sqlite3.connect(file) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.close()
    damage(file)
    with stopped as node:
        node.wait_for_log("nothing is written until it responds")
        assert "error: state:" in node.log
        assert node.operations == []
        config.cluster.start()
        node.wait_for_shadow(config.table)
        config.cluster.kill()
    with stopped as node:  # what was written since is whole
        node.wait_for_shadow(config.table)
