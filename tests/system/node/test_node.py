"""A whole node, from a configuration tree to the kernel's table, and through its own restarts."""

import signal
from pathlib import Path

import pytest

from tests.system.support.node import Node, Tree, replayed, saved

pytestmark = pytest.mark.ipvs

VIPS = {"ipv4": "10.107.107.107", "ipv6": "fd00:107::107"}


def write_every_kind(tree: Tree) -> None:
    """Write services of both families and all protocols, with each setting that a virtual server can have."""
    backend = {"ipv4": "10.3.107.1", "ipv6": "fd00:3::1"}
    tree.service(
        "all",
        {**VIPS, "tcp": 1337, "udp": 1338, "sctp": 1339},
        b1={**backend, "tcp": 1, "udp": 2, "sctp": 3},
        b2={"ipv4": "10.3.107.2", "tcp": 1, "udp": 2, "weight": 20},
        b3={"ipv6": "fd00:3::3", "udp": 2, "sctp": 3, "weight": 0, "upper_threshold": 9, "lower_threshold": 4},
    )
    tree.service("flags", {**VIPS, "tcp": 81, "scheduler": "sh", "scheduler_flags": ["sh-port"]})
    tree.service("persistent", {**VIPS, "tcp": 82, "persistence": {"timeout": 90, "netmask": "255.255.255.0"}})
    tree.service("one-packet", {**VIPS, "udp": 83, "one_packet": True}, b1={**backend, "udp": 83})
    tree.service("marked", {"fwmark": 7, "scheduler": "rr"}, b1=backend)


EVERY_KIND = sorted(
    """\
-A --sctp-service 10.107.107.107:1339 -s wlc
-A --sctp-service [fd00:107::107]:1339 -s wlc
-A -f 7 -s rr
-A -t 10.107.107.107:1337 -s wlc
-A -t 10.107.107.107:81 -s sh -b sh-port
-A -t 10.107.107.107:82 -s wlc -p 90 -M 255.255.255.0
-A -t [fd00:107::107]:1337 -s wlc
-A -t [fd00:107::107]:81 -s sh -b sh-port
-A -t [fd00:107::107]:82 -s wlc -p 90
-A -u 10.107.107.107:1338 -s wlc
-A -u 10.107.107.107:83 -s wlc -o
-A -u [fd00:107::107]:1338 -s wlc
-A -u [fd00:107::107]:83 -s wlc -o
-a --sctp-service 10.107.107.107:1339 -r 10.3.107.1:3 -m -w 10
-a --sctp-service [fd00:107::107]:1339 -r [fd00:3::1]:3 -m -w 10
-a --sctp-service [fd00:107::107]:1339 -r [fd00:3::3]:3 -m -w 0
-a -f 7 -r 10.3.107.1:0 -m -w 10
-a -t 10.107.107.107:1337 -r 10.3.107.1:1 -m -w 10
-a -t 10.107.107.107:1337 -r 10.3.107.2:1 -m -w 20
-a -t [fd00:107::107]:1337 -r [fd00:3::1]:1 -m -w 10
-a -u 10.107.107.107:1338 -r 10.3.107.1:2 -m -w 10
-a -u 10.107.107.107:1338 -r 10.3.107.2:2 -m -w 20
-a -u 10.107.107.107:83 -r 10.3.107.1:83 -m -w 10
-a -u [fd00:107::107]:1338 -r [fd00:3::1]:2 -m -w 10
-a -u [fd00:107::107]:1338 -r [fd00:3::3]:2 -m -w 0
-a -u [fd00:107::107]:83 -r [fd00:3::1]:83 -m -w 10
""".splitlines()
)


def test_every_kind_of_service_is_written_printed_and_logged_exactly(
    live: tuple[Node, Tree],
) -> None:
    node, tree = live

    write_every_kind(tree)

    node.wait_for_table(EVERY_KIND)
    assert replayed(node.tables[-1]) == EVERY_KIND
    assert replayed(node.operations) == EVERY_KIND


def test_restart_after_stop_or_kill_writes_nothing(node: Node, tree: Tree) -> None:
    write_every_kind(tree)
    with node:
        node.wait_for_table(EVERY_KIND)

    assert saved() == EVERY_KIND

    with node:
        node.wait_for_table(EVERY_KIND)
        assert node.operations == []
        node.crash()
        assert saved() == EVERY_KIND
        node.start()
        node.wait_for_table(EVERY_KIND)
        assert node.operations == []

        node.send(signal.SIGINT)
        assert node.wait() == 0
        assert saved() == EVERY_KIND


def test_second_once_writes_nothing(node: Node, tree: Tree) -> None:
    write_every_kind(tree)

    assert node.once() == 0
    assert node.only_table == saved() == EVERY_KIND
    assert replayed(node.operations) == EVERY_KIND

    assert node.once() == 0
    assert node.operations == []
    assert node.only_table == saved() == EVERY_KIND


def test_node_stopped_while_it_writes_leaves_a_table_that_can_be_completed(node: Node, tree: Tree) -> None:
    addresses = [f"10.3.{high}.{low}" for high in range(2) for low in range(1, 201)]
    for number, address in enumerate(addresses):
        tree.put(f"services/web/backends/b{number}", {"ipv4": address, "tcp": 80})
    tree.put("services/web/frontend", {"ipv4": "10.107.1.1", "tcp": 80})
    with node:
        node.wait_for(lambda: node.tables)
        for number, address in enumerate(addresses):
            tree.put(f"services/web/backends/b{number}", {"ipv4": address, "tcp": 80, "weight": number})

    assert node.once() == 0
    weights = [f"-a -t 10.107.1.1:80 -r {address}:80 -m -w {n}" for n, address in enumerate(addresses)]
    assert saved() == sorted(["-A -t 10.107.1.1:80 -s wlc", *weights])


def test_second_node_with_the_same_state_directory_is_refused(live: tuple[Node, Tree], tmp_path: Path) -> None:
    node, tree = live
    second = Node(tmp_path, tree, flags=["--state-dir", str(node.state)])

    second.start()

    assert second.wait() == 1
    assert second.log == f"Error: another clusterf-node is running with the state directory {node.state}\n"


def test_missing_tree_is_not_an_empty_one(node: Node, tree: Tree) -> None:
    tree.service("web", {**VIPS, "tcp": 80})
    with node:
        node.wait_for(lambda: node.tables)
        before = saved()
        away = tree.folder.rename(tree.folder.with_name("away"))
        node.wait_for_log("keeping the current state")
        assert saved() == before
        away.rename(tree.folder)
        tree.remove("services/web")
        node.wait_for_table([])


def test_node_starts_with_the_copy_of_a_missing_tree_and_follows_it_once_it_is_back(node: Node, tree: Tree) -> None:
    tree.service("web", {**VIPS, "tcp": 80})
    with node:
        node.wait_for(lambda: node.tables)
        before = saved()
    away = tree.folder.rename(tree.folder.with_name("away"))
    with node:
        node.wait_for_log("unreadable, using the last-good copy")
        node.wait_for(lambda: node.tables)
        assert saved() == before
        assert node.operations == []
        away.rename(tree.folder)
        tree.remove("services/web")
        node.wait_for_table([])


def test_stuck_child_dumps_its_stacks_and_is_restarted(node: Node, tree: Tree) -> None:
    tree.service("web", {**VIPS, "tcp": 80})
    node.start("--stuck-timeout", "2")
    try:
        node.wait_for(lambda: node.tables)
        before = saved()
        stuck = node.children()["director"]
        node.kill("director", number=signal.SIGSTOP)
        node.wait_for_log(r"director \(pid \d+\): stuck")
        node.wait_for(lambda: node.children().get("director", stuck) != stuck)
        tree.put("services/web/backends/b", {"ipv4": "10.3.0.1", "tcp": 80})
        node.wait_for_table([*before, "-a -t 10.107.107.107:80 -r 10.3.0.1:80 -m -w 10"])
        assert "config (pid" not in node.log
    finally:
        assert node.stop() == 0
