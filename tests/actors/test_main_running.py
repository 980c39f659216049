"""Nodes that keep running: they follow edits, signals, and the deaths of their processes."""

import os
import signal
import socket
import threading
from pathlib import Path

import pytest

from tests.actors.support.node_process import NodeProcess
from tests.actors.support.web_tree import ADD, line, make_tree, node_flags, put
from tests.waiting import wait_until

pytestmark = pytest.mark.process


@pytest.fixture
def tree(tmp_path):
    return make_tree(tmp_path / "tree")


@pytest.fixture
def start(tmp_path, tree):
    nodes = []

    def start(*more, **environment):
        place = tmp_path / f"node{len(nodes)}"
        place.mkdir()
        source = ["--config-source", f"file://{tree}"]
        nodes.append(NodeProcess(place, *node_flags(tmp_path, "--noop", "--print", *source, *more), **environment))
        return nodes[-1]

    yield start
    for node in nodes:
        node.process.kill()
        node.process.wait()


def test_edit_is_applied_and_each_table_is_printed(start, tree):
    node = start()
    wait_until(lambda: node.tables() == [f"{ADD}\n{line(1)}"])
    put(tree, 2, weight=5)
    wait_until(lambda: node.tables()[1:] == [f"{ADD}\n{line(1)}\n{line(2, 5)}"])
    assert node.end() == 0
    assert node.log().endswith("stopping; the table stays as it is\n")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_killed_child_is_restarted_and_goes_on(start, tree, number):
    node = start()
    wait_until(lambda: len(node.tables()) == 1)
    expected = f"{ADD}\n{line(1)}"
    # a director with --noop has lost its shadow table; the others have lost nothing
    for backend, (name, written) in enumerate({"config": 1, "health": 1, "director": 2}.items(), 2):
        killed = node.child(name)
        os.kill(killed, number)
        node.child(name, other_than=killed)
        put(tree, backend)
        expected += f"\n{line(backend)}"
        wait_until(lambda expected=expected: node.tables()[-1] == expected)
        assert node.log().count(f"ipvs noop: ipvsadm {ADD}") == written
    assert "Traceback" not in node.log()
    assert node.end() == 0


def test_backend_deleted_while_the_config_process_was_dead_is_removed(start, tree):
    put(tree, 2)
    node = start()
    wait_until(lambda: len(node.tables()) == 1)
    os.kill(node.child("config"), signal.SIGKILL)
    (tree / "services/web/backends/2").unlink()
    wait_until(lambda: node.tables()[-1] == f"{ADD}\n{line(1)}")
    node.logged("ipvs noop: ipvsadm -d -t 10.107.107.107:1337 -r 10.3.107.2:1337")


def test_stopped_child_is_found_stuck_and_replaced(start, tree):
    node = start("--stuck-timeout", "1")
    wait_until(lambda: len(node.tables()) == 1)
    stopped = node.child("director")
    wait_until(lambda: Path(f"/proc/{stopped}/status").exists())
    node.logged("ipvs noop")
    put(tree, 2)
    wait_until(lambda: len(node.tables()) == 2)
    pause(1.0)  # until it has answered a ping
    os.kill(stopped, signal.SIGSTOP)
    node.logged("stuck for")
    node.child("director", other_than=stopped)
    put(tree, 3)
    wait_until(lambda: node.tables()[-1].endswith(line(3)))
    assert node.end() == 0


def pause(seconds):
    threading.Event().wait(seconds)


def test_children_of_a_killed_supervisor_exit_and_the_next_node_cleans_up(start, tmp_path):
    node = start()
    wait_until(lambda: len(node.tables()) == 1)
    children = [node.child(name) for name in ("config", "health", "director")]
    node.end(signal.SIGKILL)
    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in children))
    assert "Traceback" not in node.log()
    (left,) = (tmp_path / "run").glob("node-*")
    node = start()
    wait_until(lambda: len(node.tables()) == 1)
    assert left not in list((tmp_path / "run").iterdir())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_stops_the_node_and_leaves_nothing_behind(start, tmp_path, number):
    node = start()
    wait_until(lambda: len(node.tables()) == 1)
    children = [node.child(name) for name in ("config", "health", "director")]
    assert node.end(number) == 0
    assert not any(Path(f"/proc/{pid}").exists() for pid in children)
    assert list((tmp_path / "run").iterdir()) == []
    assert "error" not in node.log()


def test_hangup_reloads_and_writes_nothing(start, tree):
    node = start()
    wait_until(lambda: len(node.tables()) == 1)
    children = node.children()
    node.process.send_signal(signal.SIGHUP)
    node.logged("reloading")
    put(tree, 2)
    wait_until(lambda: len(node.tables()) == 2)
    assert node.children() == children
    assert node.log().count("ipvsadm -A") == 1


def test_processes_have_titles_and_load_only_what_they_need(start):
    node = start()
    wait_until(lambda: node.children().keys() == {"config", "health", "director"})
    assert Path(f"/proc/{node.process.pid}/cmdline").read_bytes().startswith(b"clusterf-node: supervisor")
    wait_until(lambda: len(node.tables()) == 1)
    loaded = {name: "httptools" in Path(f"/proc/{pid}/maps").read_text() for name, pid in node.children().items()}
    assert loaded == {"config": False, "health": True, "director": False}


def test_several_health_processes_are_numbered(start):
    node = start("--health-processes", "3")
    wait_until(lambda: node.children().keys() == {"config", "health1", "health2", "health3", "director"})
    wait_until(lambda: len(node.tables()) == 1)
    killed = node.child("health2")
    os.kill(killed, signal.SIGKILL)
    node.child("health2", other_than=killed)
    assert node.end() == 0


@pytest.fixture
def listening():
    """A server on loopback that accepts connections, and its port."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server, server.getsockname()[1]


def test_backend_that_fails_is_reported_and_so_is_its_recovery(start, tree, listening):
    server, port = listening
    (tree / "services/web/health").write_text('{"interval": 0.2, "fast_interval": 0.1, "rise": 2, "fall": 2}')
    (tree / "services/web/backends/1").write_text(f'{{"ipv4": "127.0.0.1", "tcp": {port}}}')
    node = start()
    node.logged(f"health: web/1: 127.0.0.1:{port} is up (1 success, ")
    server.close()
    node.logged(f"warning: health: web/1: 127.0.0.1:{port} is down: refused (2 failures in a row, ")
    with socket.create_server(("127.0.0.1", port)):
        node.logged(f"health: web/1: 127.0.0.1:{port} is up (2 successes in a row, ")
    assert node.end() == 0
