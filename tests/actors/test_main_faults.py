"""Nodes whose processes are stopped, starved or cut off: nothing that is well is killed, and nothing lives on idle."""

import os
import shutil
import signal
import subprocess
import time
from contextlib import suppress

import pytest

from tests.actors.support.node_process import COMMAND, NodeProcess
from tests.actors.support.web_tree import ADD, line, make_tree, node_flags, put
from tests.waiting import wait_until

pytestmark = pytest.mark.process

STUCK = 1.0  # seconds: --stuck-timeout


@pytest.fixture
def tree(tmp_path):
    return make_tree(tmp_path / "tree")


@pytest.fixture
def node(tmp_path, tree):
    """A node that has applied the tree."""
    source = ["--config-source", f"file://{tree}", "--stuck-timeout", STUCK]
    node = NodeProcess(tmp_path, *node_flags(tmp_path, "--noop", "--print", *source))
    wait_until(lambda: node.tables() == [f"{ADD}\n{line(1)}"])
    yield node
    if node.process.poll() is None:
        for pid in node.children().values():
            os.kill(pid, signal.SIGCONT)
    node.process.kill()
    node.process.wait()


def pause(pids, seconds):
    """Stop the processes for so long; they go on in the opposite order."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    time.sleep(seconds)  # it is the time that matters: nothing happens in it
    for pid in reversed(pids):
        os.kill(pid, signal.SIGCONT)


def assert_follows(node, tree, children):
    """Assert that the node has the same children still, longer than it takes to find one stuck, and takes an edit."""
    put(tree, 2)
    wait_until(lambda: node.tables()[1:] == [f"{ADD}\n{line(1)}\n{line(2)}"])
    time.sleep(1.5 * STUCK)
    assert node.children() == children
    assert "stuck" not in node.log()
    assert node.end() == 0


def test_pause_of_the_supervisor_kills_nothing(node, tree):
    children = node.children()
    pause([node.process.pid], 2.5 * STUCK)
    assert_follows(node, tree, children)


def test_pause_of_all_processes_kills_nothing(node, tree):
    children = node.children()
    for _ in range(2):
        pause([node.process.pid, *children.values()], 2.5 * STUCK)
    assert_follows(node, tree, children)


def test_many_short_pauses_of_all_processes_kill_nothing(node, tree):
    children = node.children()
    for _ in range(15):
        pause([*children.values(), node.process.pid], 0.2 * STUCK)
    assert_follows(node, tree, children)


def test_child_that_alone_is_stopped_is_found(node):
    stopped = node.child("health")
    os.kill(stopped, signal.SIGSTOP)
    node.logged(f"health (pid {stopped}): stuck for 1 seconds, dumping its stacks and killing it")
    node.logged(f"health (pid {stopped}): killed by SIGKILL, restarting in")
    node.child("health", other_than=stopped)


def test_storm_of_reloads_while_a_child_is_stopped_blocks_nothing(node):
    stopped = node.child("health")
    os.kill(stopped, signal.SIGSTOP)
    begun, sent = time.monotonic(), 0
    while f"health (pid {stopped}): stuck" not in node.log() or sent < 1000:
        assert time.monotonic() < begun + 10
        node.process.send_signal(signal.SIGHUP)
        sent += 1
        time.sleep(0.0005)  # signals that come together are one
    node.child("health", other_than=stopped)
    assert node.end() == 0


def test_storm_of_reloads_does_not_hide_the_signal_to_stop(node):
    os.kill(node.process.pid, signal.SIGSTOP)
    for number in (signal.SIGHUP, signal.SIGUSR2, signal.SIGTERM):
        for _ in range(500):
            os.kill(node.process.pid, number)
    os.kill(node.process.pid, signal.SIGCONT)
    assert node.process.wait(20) == 0
    assert node.log().count("reloading") == 1


@pytest.mark.parametrize("name", ["director", "health", "config"])
def test_process_that_ends_after_the_runtime_directory_has_gone_is_back_in_force(node, tree, tmp_path, name):
    shutil.rmtree(tmp_path / "run")
    killed = node.child(name)
    os.kill(killed, signal.SIGKILL)
    node.child(name, other_than=killed)
    put(tree, 2)
    wait_until(lambda: node.tables()[-1] == f"{ADD}\n{line(1)}\n{line(2)}")
    assert node.end() == 0


def test_links_of_all_processes_are_made_anew_after_many_deaths(node, tree):
    for backend in range(2, 5):
        for name in ("config", "director", "health"):
            with suppress(ProcessLookupError):  # it has just ended, as the one before took its link along
                os.kill(node.child(name), signal.SIGKILL)
        put(tree, backend)
    expected = "\n".join([ADD, *map(line, range(1, 5))])
    wait_until(lambda: node.tables()[-1] == expected)
    assert node.end() == 0


def test_log_that_nobody_reads_stalls_nothing(tmp_path):
    tree = make_tree(tmp_path / "tree")
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with pytest.raises(BlockingIOError):
        fill(writer)
    os.set_blocking(writer, True)
    flags = node_flags(tmp_path, "--noop", "--print", "--config-source", f"file://{tree}")
    with (tmp_path / "out").open("w") as out:
        process = subprocess.Popen([*COMMAND, *map(str, flags)], stdin=subprocess.DEVNULL, stdout=out, stderr=writer)
    try:
        wait_until(lambda: line(1) in (tmp_path / "out").read_text(), 30)
        put(tree, 2)
        wait_until(lambda: line(2) in (tmp_path / "out").read_text(), 30)
        process.terminate()
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()
        os.close(reader)
        os.close(writer)


def fill(pipe):
    while True:
        os.write(pipe, b"x")
