"""Members of etcd fail while a node follows it: nothing is removed that stays, and the table ends exact."""

import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from tests.lab.etcd import EtcdCluster, Member
from tests.system.support.etcd_config import (
    SERVICES,
    UNREACHABLE,
    Config,
    EtcdNode,
    deleted_backend,
    etcd_node,
)
from tests.waiting import wait_until


def followed(node: EtcdNode, cluster: EtcdCluster) -> Member:
    """Return the member that the node follows."""
    node.wait_for_log(r": following \S+ from")
    endpoint = node.log.rpartition(": following ")[2].split()[0]
    return next(member for member in cluster.members if member.endpoint == endpoint)


def leader(cluster: EtcdCluster) -> Member:
    """Return the member that leads."""
    for member in cluster.members:
        fields = cluster._run("endpoint", "status", endpoints=[member.endpoint]).stdout.split(", ")
        if fields[4:5] == ["true"]:
            return member
    raise AssertionError("nobody leads")


def test_server_killed_under_load_loses_no_change(config: Config, node: EtcdNode) -> None:
    for weight in range(1, 4):
        config.change(*[(service, backend, weight) for service, backend, _ in SERVICES], (9, weight, 1))
        config.cluster.kill()
        node.wait_for_log(UNREACHABLE)
        config.cluster.start()
        config.change((9, weight, None), (9, weight + 1, 1))
    node.wait_for_shadow(config.table)
    assert set(node.deletions) <= {deleted_backend(9, 1), deleted_backend(9, 2), deleted_backend(9, 3)}


def test_another_member_is_followed_when_one_is_down(shared: Config, node: EtcdNode) -> None:
    for weight in range(1, 4):
        followed(node, shared.cluster).kill()
        shared.change((1, 1, weight))
        node.wait_for_shadow(shared.table)
        shared.cluster.start()
    assert node.deletions == []


def test_leader_killed_under_load_loses_no_change(shared: Config, node: EtcdNode) -> None:
    stop = threading.Event()

    def write() -> int:
        rounds = 0
        while not stop.is_set():
            shared.change(*[(service, backend, rounds % 100) for service, backend, _ in SERVICES])
            rounds += 1
        return rounds

    with ThreadPoolExecutor() as pool:
        writing = pool.submit(write)
        try:
            member = leader(shared.cluster)
            member.kill()
            wait_until(lambda: leader_or_none(shared.cluster), 20)
        finally:
            stop.set()
        assert writing.result() > 1
    shared.change((1, 1, None))
    node.wait_for_shadow(shared.table)
    assert node.deletions == [deleted_backend(1, 1)]


def leader_or_none(cluster: EtcdCluster) -> Member | None:
    with suppress(AssertionError):
        return leader(cluster)
    return None


def test_table_is_kept_without_quorum_and_followed_afterwards(shared: Config, node: EtcdNode) -> None:
    _, two, three = shared.cluster.members
    shared.change((1, 1, 3))
    node.wait_for_shadow(shared.table)
    two.kill()
    three.kill()
    node.wait_for_log("no leader|unavailable|deadline")
    assert node.deletions == []
    two.launch()
    shared.cluster.wait_for(two)
    shared.change((1, 1, None), (1, 2, 7))
    node.wait_for_shadow(shared.table)
    assert node.deletions == [deleted_backend(1, 1)]


def test_frozen_member_is_replaced_by_another(shared: Config, node: EtcdNode) -> None:
    member = followed(node, shared.cluster)
    number = shared.cluster.members.index(member)
    member.freeze()
    try:
        shared.change((1, 1, None), through=(number + 1) % 3)
        node.wait_for_shadow(shared.table)
        assert followed(node, shared.cluster) is not member
        assert node.deletions == [deleted_backend(1, 1)]
    finally:
        member.thaw()


def test_table_is_kept_while_the_only_server_is_frozen(config: Config, node: EtcdNode) -> None:
    member = config.cluster.members[0]
    member.freeze()
    try:
        node.reload()  # times out sooner than the watch
        node.wait_for_log(UNREACHABLE)
        assert node.deletions == []
    finally:
        member.thaw()
    config.change((1, 1, None))
    node.wait_for_shadow(config.table)
    assert node.deletions == [deleted_backend(1, 1)]


def test_node_stops_at_once_while_a_call_hangs(config: Config, tmp_path: Path) -> None:
    config.cluster.members[0].freeze()
    try:
        with etcd_node(tmp_path, config.cluster.url(config.prefix)) as node:
            node.wait_for_log("cannot read the table, assuming an empty one")
            wait_until(lambda: "config" in node.children())
            node.send(signal.SIGTERM)
            assert node._process.wait(4) == 0
    finally:
        config.cluster.members[0].thaw()


def resident(pid: int) -> int:
    """Return the megabytes of memory that a process has."""
    fields = Path(f"/proc/{pid}/statm").read_text().split()
    return int(fields[1]) * os.sysconf("SC_PAGESIZE") >> 20


def test_thousand_changes_a_second_end_exactly_and_use_no_memory(config: Config, node: EtcdNode) -> None:
    keys = [(service, backend) for service in range(20, 30) for backend in range(1, 51)]
    config.change(*[(*key, 1) for key in keys])
    node.wait_for_shadow(config.table)
    director = node.children()["director"]
    before = resident(director), resident(node.children()["config"])
    for number in range(20_000 // len(keys)):
        if number == 8:
            node.kill("config")
        config.change(*[(*key, (number * 7 + key[1]) % 100 + 1) for key in keys])
    config.change(*[(*key, None) for key in keys[:3]])
    node.wait_for_shadow(config.table)
    assert set(node.deletions) == {deleted_backend(*key) for key in keys[:3]}
    assert node.children()["director"] == director
    after = resident(director), resident(node.children()["config"])
    assert after[0] - before[0] < 30
    assert after[1] - before[1] < 40
