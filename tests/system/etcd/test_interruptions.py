"""The connection to etcd fails, or history is compacted: nothing is removed that stays, and the table ends exact."""

import signal
from pathlib import Path

import pytest

from tests.system.support.etcd_config import (
    UNREACHABLE,
    Config,
    EtcdNode,
    compact,
    deleted_backend,
    deleted_service,
    etcd_node,
)
from tests.system.support.proxy import proxy


def test_silent_watch_times_out_and_missed_changes_are_applied(config: Config, tmp_path: Path) -> None:
    with proxy(config) as (between, url), etcd_node(tmp_path, url) as node:
        node.wait_for_shadow(config.table)
        between.silent.set()
        config.change((1, 1, None), (1, 2, 3))
        node.wait_for_log(UNREACHABLE)
        between.heal()
        node.wait_for_shadow(config.table)
        assert node.deletions == [deleted_backend(1, 1)]


@pytest.mark.parametrize("compacted", [False, True])
@pytest.mark.parametrize("deleted", [False, True])
def test_deletions_and_compaction_during_an_interruption_are_applied(
    config: Config, tmp_path: Path, *, compacted: bool, deleted: bool
) -> None:
    with proxy(config) as (between, url), etcd_node(tmp_path, url) as node:
        node.wait_for_shadow(config.table)
        between.silent.set()
        between.hang_up()
        if deleted:
            config.change((1, 1, None))
            config.drop(2)
        config.change((3, 1, 5), (3, 1, 6))
        if compacted:
            compact(config)
        between.heal()
        node.wait_for_shadow(config.table)
        assert sorted(node.deletions) == ([deleted_service(2), deleted_backend(1, 1)] if deleted else [])


def test_compaction_during_a_list_leads_to_a_new_list(config: Config, node: EtcdNode) -> None:
    config.change(*[(service, backend, 1) for service in range(10, 20) for backend in range(1, 400)])
    node.wait_for_shadow(config.table)
    for weight in range(2, 8):
        node.send(signal.SIGHUP)
        config.change((10, 1, weight))
        compact(config)
    config.change((10, 1, None))
    node.wait_for_shadow(config.table)
    assert node.deletions == [deleted_backend(10, 1)]


def test_broken_watch_is_restarted(config: Config, tmp_path: Path) -> None:
    with proxy(config) as (between, url), etcd_node(tmp_path, url) as node:
        node.wait_for_shadow(config.table)
        for weight in range(1, 30):
            between.hang_up()
            config.change((1, 1, weight))
        config.change((1, 1, None))
        node.wait_for_shadow(config.table)
        assert node.deletions == [deleted_backend(1, 1)]


def test_incomplete_first_list_is_never_used(config: Config, tmp_path: Path) -> None:
    config.change(*[(service, backend, 1) for service in range(10, 20) for backend in range(1, 500)])
    with proxy(config) as (between, url):
        between.allowance = 300_000  # some of its pages
        with etcd_node(tmp_path, url) as node:
            assert between.silent.wait(10)
            node.kill("config")
            node.wait_for_log("nothing is written until it responds")
            assert not node.operations
            assert not node.tables
            between.heal()
            node.wait_for_shadow(config.table)
            assert node.deletions == []
