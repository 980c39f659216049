"""Health checks through faults of the node itself: verdicts are kept, and no weight changes."""

import shutil
import signal
import threading
from collections.abc import Iterator
from functools import partial

import pytest

from tests.servers import Behaviour, Connection, answer, stay_silent
from tests.system.support.node import Node, Tree, saved
from tests.system.support.web import Web, mark

pytestmark = pytest.mark.ipvs


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


def assert_no_change_after_probes(node: Node, tree: Tree, web: Web) -> None:
    """Wait for more probes than it takes to switch a verdict, and assert that nothing was written."""
    web.wait_for_probes(node, 4)
    assert_nothing_written(node, tree)


def assert_nothing_written(node: Node, tree: Tree) -> None:
    """Assert that nothing was written but a change that is made now."""
    marked = mark(node, tree)
    assert node.operations == [marked]
    node.forget()


def test_restarts_change_no_weight(node: Node, tree: Tree, web: Web) -> None:
    with node:
        web.wait(node, b1=10, b2=10, b3=0)
        wait_for_all_verdicts(node, web)

        assert node.stop() == 0
        node.start()
        assert_no_change_after_probes(node, tree, web)

        node.crash()
        node.start()
        assert_no_change_after_probes(node, tree, web)

        # without stored verdicts and without responses, weights are those in the kernel
        node.crash()
        shutil.rmtree(node.state)
        web.put_check(interval=60, timeout=60)
        answered = threading.Event()
        for server in web.servers.values():
            server.behaviour = partial(answer_after, answered, server.behaviour)
        before = {server: server.accepted for server in web.servers.values()}
        node.start()
        node.wait_for(lambda: all(server.accepted > count for server, count in before.items()))
        assert_nothing_written(node, tree)
        answered.set()
        web.put_check()
        assert_no_change_after_probes(node, tree, web)
        web.stop("b1")
        web.wait(node, b1=0, b2=10, b3=0)
        node.wait_for_log(r"web/b1: \S+ is down: refused \(3 failures in a row")
        assert node.operations == [web.operation("-e", "b1", 0)]


def answer_after(permitted: threading.Event, behaviour: Behaviour, connection: Connection) -> None:
    permitted.wait(60)
    behaviour(connection)


def wait_for_all_verdicts(node: Node, web: Web) -> None:
    for backend in ("b1", "b2", "b3"):
        node.wait_for_log(rf"web/{backend}: \S+ is (up|down)")
    node.forget()


def test_verdicts_survive_the_kill_of_any_process(node: Node, tree: Tree, web: Web) -> None:
    with node:
        web.wait(node, b1=10, b2=10, b3=0)
        wait_for_all_verdicts(node, web)
        for killed in ([["health"]] * 2, [["director"], ["config"]], [["health", "director", "config"]]):
            for number, names in enumerate(killed, 1):
                node.kill(*names)
                node.wait_for_log("killed by SIGKILL", number * len(names))
            assert_no_change_after_probes(node, tree, web)
        assert "is up" not in node.log
        assert "is down" not in node.log

        web.servers["b2"].behaviour = answer(500)
        web.servers["b3"].behaviour = answer(200)
        web.wait(node, b1=10, b2=0, b3=10)
        # the backends are not new to restarted processes: one success or failure is not enough
        node.wait_for_log(r"web/b2: \S+ is down: HTTP 500 \(3 failures in a row")
        assert web.operations(node, "b1") == []


def test_stuck_health_process_changes_nothing_and_is_restarted(node: Node, tree: Tree, web: Web) -> None:
    node.start("--stuck-timeout", "2")
    try:
        web.wait(node, b1=10, b2=10, b3=0)
        wait_for_all_verdicts(node, web)
        pid = node.children()["health"]
        node.kill("health", number=signal.SIGSTOP)
        web.stop("b1")
        operation = mark(node, tree)

        node.wait_for_log(r"health \(pid \d+\): stuck")
        assert node.operations == [operation]
        node.wait_for(lambda: node.children().get("health", pid) != pid)
        web.wait(node, b1=0, b2=10, b3=0)
        assert node.operations == [operation, web.operation("-e", "b1", 0)]
        assert "director (pid" not in node.log
        assert "config (pid" not in node.log
    finally:
        assert node.stop() == 0


def test_once_waits_for_verdicts_and_applies_them(node: Node, tree: Tree, web: Web) -> None:
    expected = [f"-A {web.virtual} -s wlc", *(reals(web, b1=10, b2=10, b3=0))]
    assert node.once("--noop") == 0
    assert node.only_table == sorted(expected)
    planned = node.operations
    assert saved() == []

    assert node.once() == 0
    assert node.operations == planned == [f"ipvsadm {line}" for line in expected]
    assert node.only_table == saved() == sorted(expected)

    # no stored verdicts: only results of now count
    web.servers["b1"].behaviour = answer(500)
    web.servers["b3"].behaviour = answer(200)
    assert node.once() == 0
    assert sorted(node.operations) == [web.operation("-e", "b1", 0), web.operation("-e", "b3", 10)]


def test_once_applies_without_verdicts_that_are_late(node: Node, web: Web) -> None:
    web.servers["b2"].behaviour = stay_silent
    web.put_check(interval=60, timeout=60, fast_interval=0.1)

    assert node.once("--once-timeout", "5") == 0

    assert "warning: health: starting without verdicts on 1 backends" in node.log
    assert "warning: health: no verdict yet: web/b2: " in node.log
    assert saved() == sorted([f"-A {web.virtual} -s wlc", *reals(web, b1=10, b2=0, b3=0)])


def reals(web: Web, **weights: int) -> list[str]:
    return [web.operation("-a", backend, weight).removeprefix("ipvsadm ") for backend, weight in weights.items()]
