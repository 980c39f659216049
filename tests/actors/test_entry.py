import signal
from pathlib import Path

import pytest

from tests.actors.support.node_process import NodeProcess
from tests.actors.support.web_tree import make_tree, node_flags
from tests.waiting import wait_until

pytestmark = pytest.mark.process


def ignores(pid, number):
    """Tell whether the process ignores the signal."""
    (mask,) = (line.split()[1] for line in Path(f"/proc/{pid}/status").read_text().splitlines() if "SigIgn" in line)
    return bool(int(mask, 16) >> (number - 1) & 1)


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGUSR2])
def test_signals_of_the_operator_do_not_end_a_node_that_is_starting(tmp_path, number):
    tree = make_tree(tmp_path / "tree")
    (tmp_path / "node").mkdir()
    flags = node_flags(tmp_path, "--noop", "--print", "--config-source", f"file://{tree}")
    node = NodeProcess(tmp_path / "node", *flags)
    try:
        wait_until(lambda: ignores(node.process.pid, number))
        node.process.send_signal(number)
        wait_until(lambda: len(node.tables()) == 1, 30)
        assert node.end() == 0
    finally:
        node.process.kill()
        node.process.wait()


def test_signals_that_the_parent_has_blocked_are_taken(tmp_path):
    tree = make_tree(tmp_path / "tree")
    (tmp_path / "node").mkdir()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGCHLD, signal.SIGHUP})
    try:
        flags = node_flags(tmp_path, "--noop", "--print", "--config-source", f"file://{tree}")
        node = NodeProcess(tmp_path / "node", *flags)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    try:
        wait_until(lambda: len(node.tables()) == 1, 30)
        assert node.end() == 0
    finally:
        node.process.kill()
        node.process.wait()
