"""Keys of `vips/` in a real kernel: who owns a VIP, whatever others claim."""

import pytest

from tests.system.support.node import Node, Tree, saved, table

pytestmark = pytest.mark.ipvs

MINE = "-A -t 10.107.0.1:80 -s wlc\n-a -t 10.107.0.1:80 -r 10.3.0.1:80 -m -w 10\n"
STOLEN = MINE.replace("10.3.0.1", "10.66.0.1")
OTHER = "-A -t 10.108.0.1:80 -s wlc\n-a -t 10.108.0.1:80 -r 10.66.0.1:80 -m -w 10\n"
FORBIDDEN = "services/aaa/frontend: address 10.107.0.1 is forbidden: "


def write_owner(tree: Tree) -> None:
    tree.put("vips/team-b", {"prefix": "10.107.0.0/16", "services": ["team-b-*"]})
    tree.service("team-b-web", {"ipv4": "10.107.0.1", "tcp": 80}, b={"ipv4": "10.3.0.1", "tcp": 80})


def write_thief(tree: Tree, address: str = "10.107.0.1") -> None:
    tree.service("aaa", {"ipv4": address, "tcp": 80}, b={"ipv4": "10.66.0.1", "tcp": 80})


def test_vip_of_others_is_not_taken_by_a_lower_name(node: Node, tree: Tree) -> None:
    write_owner(tree)
    with node:
        node.wait_for_table(MINE)
        node.forget()
        write_thief(tree)
        node.wait_for_log(FORBIDDEN + r"vips/team-b \(10.107.0.0/16\) has it for other services")
        tree.service("aaa2", {"ipv4": "10.108.0.1", "tcp": 80}, b={"ipv4": "10.66.0.1", "tcp": 80})
        node.wait_for_table(MINE + OTHER)
        assert not [line for line in node.operations if "10.107" in line]
    assert saved() == table(MINE + OTHER)


def test_key_gives_a_vip_back_and_opens_it_when_it_goes(node: Node, tree: Tree) -> None:
    write_owner(tree)
    write_thief(tree)
    tree.remove("vips/team-b")
    with node:
        node.wait_for_table(STOLEN)
        tree.put("vips/team-b", {"prefix": "10.107.1.2/16", "services": ["team-b-*"]})
        node.wait_for_table(MINE)
        # what is invalid changes nothing
        tree.put_text("vips/team-b", '{"prefix": "10.107.0.0/16", "services": ["[z-a]"]}')
        node.wait_for_log(r"vips/team-b: services: .* \(keeping the previous valid value\)")
        tree.remove("vips/team-b")
        node.wait_for_table(STOLEN)


def test_forbidden_claim_is_reported_by_once(node: Node, tree: Tree) -> None:
    write_owner(tree)
    write_thief(tree)
    assert node.once() == 3
    assert FORBIDDEN + "vips/team-b (10.107.0.0/16)" in node.log
    assert saved() == table(MINE)
    write_thief(tree, "10.108.0.1")
    assert node.once() == 0
    assert saved() == table(MINE + OTHER)
    assert node.once("--vip-policy", "strict") == 3
    assert "address 10.108.0.1 is forbidden: no vips/ key covers it (--vip-policy strict)" in node.log
    assert saved() == table(MINE)
