"""Which virtual servers in the kernel are a node's own, and what the flags about the table do."""

import shutil

import pytest

from tests.system.support.node import Node, Tree, ipvsadm, saved, table

pytestmark = pytest.mark.ipvs

WEB = "-A -t 10.1.0.1:80 -s wlc\n-a -t 10.1.0.1:80 -r 10.3.0.1:80 -m -w 10\n"
API = "-A -t 10.1.0.2:80 -s wlc\n-a -t 10.1.0.2:80 -r 10.3.0.1:80 -m -w 10\n"
FOREIGN = "-A -t 10.99.0.1:80 -s rr\n-a -t 10.99.0.1:80 -r 10.98.0.1:80 -m -w 3\n"


def write_both(tree: Tree) -> None:
    backend = {"ipv4": "10.3.0.1", "tcp": 80}
    tree.service("web", {"ipv4": "10.1.0.1", "tcp": 80}, b=backend)
    tree.service("api", {"ipv4": "10.1.0.2", "tcp": 80}, b=backend)


def make_foreign() -> None:
    ipvsadm("-R", stdin=FOREIGN)


def test_foreign_virtual_servers_are_left_alone_across_removals_and_restarts(node: Node, tree: Tree) -> None:
    write_both(tree)
    make_foreign()
    with node:
        node.wait_for_table(WEB + API + FOREIGN)
        tree.remove("services/api")
        node.wait_for_table(WEB + FOREIGN)

    tree.remove("services/web")
    assert node.once() == 0
    assert node.operations == ["ipvsadm -D -t 10.1.0.1:80"]
    assert node.only_table == saved() == table(FOREIGN)


def test_service_removed_while_the_node_was_down_is_removed_only_if_it_is_recorded(node: Node, tree: Tree) -> None:
    write_both(tree)
    assert node.once() == 0
    tree.remove("services/api")
    assert node.once() == 0
    assert saved() == table(WEB)

    tree.remove("services/web")
    shutil.rmtree(node.state)
    assert node.once() == 0
    assert node.operations == []
    assert saved() == table(WEB)


def test_existing_virtual_server_becomes_ours_once_it_is_configured(node: Node, tree: Tree) -> None:
    ipvsadm("-R", stdin=WEB.replace("10.3.0.1", "10.3.0.9"))
    write_both(tree)
    assert node.once() == 0
    assert saved() == table(WEB + API)

    tree.remove("services/web")
    assert node.once() == 0
    assert saved() == table(API)


def test_excluded_addresses_are_never_written_even_if_configured_or_recorded(node: Node, tree: Tree) -> None:
    write_both(tree)
    assert node.once() == 0
    ipvsadm("-e", "-t", "10.1.0.2:80", "-r", "10.3.0.1:80", "-m", "-w", "1")
    by_hand = saved()

    assert node.once("--ipvs-exclude", "10.1.0.2/31", "--ipvs-exclude", "10.99.0.0/16") == 3
    assert node.operations == []
    assert "services/api/frontend: address 10.1.0.2 is in a range of --ipvs-exclude" in node.log
    assert saved() == by_hand

    tree.clear()
    assert node.once("--ipvs-exclude", "10.1.0.2/31") == 0
    assert saved() == [line for line in by_hand if "10.1.0.2:80" in line]


def test_flush_empties_the_table_except_for_excluded_addresses(node: Node, tree: Tree) -> None:
    write_both(tree)
    make_foreign()
    ipvsadm("-A", "-t", "10.1.0.3:80")

    assert node.once("--flush", "--ipvs-exclude", "10.99.0.0/16") == 0
    assert saved() == table(WEB + API + FOREIGN)

    assert node.once("--flush") == 0
    assert node.operations[0] == "ipvsadm -C"
    assert saved() == table(WEB + API)


def test_flush_is_not_repeated_when_a_child_is_restarted(node: Node, tree: Tree) -> None:
    write_both(tree)
    make_foreign()
    node.start("--flush")
    try:
        node.wait_for_table(WEB + API)
        make_foreign()
        node.kill("director")
        node.wait_for(lambda: len(node.tables) == 2)

        assert node.operations.count("ipvsadm -C") == 1
        assert node.tables[-1] == saved() == table(WEB + API + FOREIGN)
    finally:
        assert node.stop() == 0


def test_elided_virtual_servers_exist_only_while_they_have_real_servers(node: Node, tree: Tree) -> None:
    write_both(tree)
    tree.remove("services/api/backends/b")
    node.start("--ipvs-elide")
    try:
        node.wait_for_table(WEB)
        tree.put("services/api/backends/b", {"ipv4": "10.3.0.1", "tcp": 80})
        node.wait_for_table(WEB + API)
        tree.remove("services/web/backends/b")
        node.wait_for_table(API)
    finally:
        assert node.stop() == 0

    assert node.once() == 0
    assert saved() == table(API + "-A -t 10.1.0.1:80 -s wlc")
