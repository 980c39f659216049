"""Others work on our own virtual server, 1,890 times: all of it is undone, and theirs is left alone."""

from pathlib import Path
from random import Random

import pytest

from tests.system.support.netns import network_namespace
from tests.system.support.node import Node, Tree, ipvsadm, saved

pytestmark = pytest.mark.ipvs

ROUNDS, PER_ROUND = 30, 63
VIRTUAL = "-t 10.1.0.1:80"
OURS = [f"-A {VIRTUAL} -s wlc", *(f"-a {VIRTUAL} -r 10.3.0.{n}:80 -m -w 10" for n in (1, 2, 3))]
THEIRS = ["-A -t 10.2.0.1:80 -s rr", "-a -t 10.2.0.1:80 -r 10.3.0.1:80 -m -w 7"]


def operations(rng: Random) -> list[str]:
    """Return operations on our virtual server that the kernel accepts one after the other, whatever came before."""
    found = []
    while len(found) < PER_ROUND - 5:
        found.append(
            rng.choice(
                [
                    f"-E {VIRTUAL} -s {rng.choice(['rr', 'wrr', 'sh', 'lc'])}",
                    f"-e {VIRTUAL} -r 10.3.0.{rng.randint(1, 3)}:80 -m -w {rng.randint(0, 99)}",
                    f"-e {VIRTUAL} -r 10.3.0.{rng.randint(1, 3)}:80 -g -w 10",
                ]
            )
        )
    add = f"-a {VIRTUAL} -r 10.9.0.{rng.randint(1, 9)}:80 -m -w {rng.randint(0, 9)}"
    gone = f"-d {VIRTUAL} -r 10.3.0.{rng.randint(1, 3)}:80"
    return [*found, add, gone, f"-D {VIRTUAL}", f"-A {VIRTUAL} -s rr", f"-a {VIRTUAL} -r 10.9.0.1:80 -m -w 1"]


def test_table_is_exact_after_many_operations_of_others_on_our_virtual_server(tmp_path: Path) -> None:
    tree = Tree(tmp_path / "tree")
    backends = {f"b{n}": {"ipv4": f"10.3.0.{n}", "tcp": 80} for n in (1, 2, 3)}
    tree.service("web", {"ipv4": "10.1.0.1", "tcp": 80, "drain_timeout": 0}, **backends)
    rng = Random(1890)
    with network_namespace():
        ipvsadm("-R", stdin="\n".join(THEIRS) + "\n")
        with Node(tmp_path, tree, flags=["--resync-interval", "1"]) as node:
            node.wait_for_kernel([*OURS, *THEIRS])
            done = 0
            for _ in range(ROUNDS):
                batch = operations(rng)
                ipvsadm("-R", stdin="\n".join(batch) + "\n")
                done += len(batch)
                node.wait_for_kernel([*OURS, *THEIRS])
            assert done == 1890
            assert saved() == sorted([*OURS, *THEIRS])
            assert not [line for line in node.operations if "10.2.0.1" in line]
