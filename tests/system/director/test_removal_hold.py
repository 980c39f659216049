"""A wiped configuration does not wipe the kernel's table."""

import shutil
import signal

import pytest

from tests.system.support.node import Node, Tree, saved

pytestmark = pytest.mark.ipvs

SERVICES = 12


def fill(tree: Tree) -> None:
    for number in range(SERVICES):
        tree.service(
            f"s{number}",
            {"ipv4": f"10.1.0.{number}", "tcp": 80},
            a={"ipv4": "10.2.0.1", "tcp": 80},
            b={"ipv4": "10.2.0.2", "tcp": 80},
        )


def test_removals_by_a_wiped_tree_are_held_until_confirmed(node: Node, tree: Tree) -> None:
    fill(tree)
    with node:
        node.wait_for(lambda: len(saved()) == 3 * SERVICES)
        before = saved()

        shutil.rmtree(tree.folder / "services")
        node.wait_for_log(rf"{SERVICES} of {SERVICES} virtual servers would be removed at once: held")
        assert saved() == before

        node.send(signal.SIGUSR2)
        node.wait_for_kernel([])


def test_removals_by_a_wiped_tree_are_done_after_the_hold(node: Node, tree: Tree) -> None:
    fill(tree)
    assert node.once() == 0
    shutil.rmtree(tree.folder / "services")
    node.start("--removal-hold", "1")
    try:
        node.wait_for_log("held for 1 seconds")
        node.wait_for_kernel([])
    finally:
        node.stop()
