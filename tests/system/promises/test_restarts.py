"""Restarts that write nothing: with other numbers of health processes, in other centuries, and of other versions."""

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.servers import answer
from tests.system.support.dataplane import ip
from tests.system.support.node import Node, Tree, ipvsadm
from tests.system.support.web import Web

pytestmark = pytest.mark.ipvs

ROOT = Path(__file__).parents[3]
MAIN = "import sys; sys.argv[0] = 'clusterf-node'; from actors.main import main; main()"


@pytest.fixture
def web(namespace: None, tree: Tree) -> Iterator[Web]:
    """A service with two good backends, and b3, which fails."""
    with Web(tree) as web:
        web.serve("b1", "b2")
        web.serve("b3", behaviour=answer(500))
        web.put_check()
        web.put_frontend()
        web.put_backends("b1", "b2", "b3")
        yield web


def known(node: Node, web: Web) -> None:
    """Wait until there is a verdict on each backend."""
    web.wait(node, b1=10, b2=10, b3=0)
    for backend in ("b1", "b2", "b3"):
        node.wait_for_log(rf"web/{backend}: \S+ is (up|down)")


def assert_restart_writes_nothing(node: Node, web: Web, *flags: str) -> None:
    """Restart a node, and assert that it writes nothing for more probes than a verdict takes."""
    assert node.stop() == 0
    node.start(*flags)
    web.wait_for_probes(node, 4)
    assert node.operations == []


def test_restart_with_another_number_of_health_processes_writes_nothing(node: Node, web: Web) -> None:
    with node:
        known(node, web)
        for number in (3, 2, 5, 1):
            assert_restart_writes_nothing(node, web, "--health-processes", str(number))


def test_check_that_goes_while_no_node_runs_raises_no_weight_before_its_time(node: Node, web: Web, tree: Tree) -> None:
    web.put_check(interval=2)
    with node:
        known(node, web)
        assert node.stop() == 0
        tree.remove(f"services/{web.name}/health")
        node.start()
        began = time.monotonic()
        web.wait_for_shadow(node, b1=10, b2=10, b3=0)
        assert node.operations == []
        web.wait(node, b1=10, b2=10, b3=10)
        assert time.monotonic() - began > 5  # of 3 * 2


@contextmanager
def clock(seconds: float) -> Iterator[None]:
    """Set the clock; never that of a machine that is in use: there it stays."""
    if "CLUSTERF_LAB_GUEST" not in os.environ:
        yield
        return
    offset = time.time() - time.monotonic()
    time.clock_settime(time.CLOCK_REALTIME, seconds)
    try:
        yield
    finally:
        time.clock_settime(time.CLOCK_REALTIME, time.monotonic() + offset)


def test_clock_of_any_century_changes_nothing(node: Node, web: Web) -> None:
    with node:
        known(node, web)
        # in 1970, as early as the kernel allows: not before it was booted (settimeofday64: EINVAL); and in 2099
        for seconds in (time.monotonic() + 1_000.0, 4_070_908_800.0):
            with clock(seconds):
                assert_restart_writes_nothing(node, web)
                web.put_backends("b2", weight=20)
                web.wait(node, b1=10, b2=20, b3=0)
                web.put_backends("b2", weight=10)
                web.wait(node, b1=10, b2=10, b3=0)
        assert_restart_writes_nothing(node, web)


class OldNode(Node):
    """A node of an earlier commit, on the same folder."""

    def __init__(self, folder: Path, tree: Tree, code: Path) -> None:
        super().__init__(folder, tree, through=["env", f"PYTHONPATH={code}", sys.executable, "-c", MAIN])
        # the program of this version is the argument that the old one does not need
        self._command = [word for word in self._command if not word.endswith("/clusterf-node")]


def earlier(folder: Path) -> list[Path]:
    """Return the code of the last two commits but one; where there is no history, the present code."""
    found = []
    for number in (1, 2):
        code = folder / f"code{number}"
        code.mkdir()
        archive = ["git", "-C", str(ROOT), "archive", f"HEAD~{number}", "actors", "clusterf"]
        done = subprocess.run(archive, capture_output=True, check=False)
        if done.returncode:
            return [ROOT]
        subprocess.run(["tar", "-x", "-C", code], input=done.stdout, check=True)
        found.append(code)
    return found


def in_use(web: Web) -> str:
    """Return the backend that has a connection."""
    [address] = re.findall(rf"-> ([\d.]+):{web.port} +Masq +\d+ +1 ", ipvsadm("-Ln"))
    return next(name for name in web.servers if web.address(name) == address)


def test_upgrades_and_downgrades_write_nothing_while_a_backend_drains(
    namespace: None, tmp_path: Path, tree: Tree, web: Web
) -> None:
    ip(f"addr add {web.vip}/32 dev lo\n")
    web.put_frontend(drain_timeout=3600)
    for code in earlier(tmp_path):
        web.put_backends("b1", "b2", "b3")
        with OldNode(tmp_path, tree, code) as old:
            web.wait(old, b1=10, b2=10, b3=0)
            web.wait_for_probes(old, 4)
            with socket.create_connection((web.vip, 80), timeout=5):
                leaving = in_use(web)
                others = {"b1": 10, "b2": 10} | {leaving: 0}
                tree.remove(f"services/{web.name}/backends/{leaving}")
                web.wait(old, b3=0, **others)
                assert old.stop() == 0
                for node in (Node(tmp_path, tree), OldNode(tmp_path, tree, code)):
                    with node:
                        web.wait_for_probes(node, 4, *(name for name in web.servers if name != leaving))
                        assert node.operations == []
                        assert web.weights() == {"b3": 0, **others}
                old.start()
            web.wait(old, **{name: weight for name, weight in {"b3": 0, **others}.items() if name != leaving})
