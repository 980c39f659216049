"""Health checks through faults of the node itself: what is known stays, and nothing flips."""

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
    """A service with two good backends, and b3 that fails."""
    with Web(tree) as web:
        web.serve("b1", "b2")
        web.serve("b3", behaviour=answer(500))
        web.put_check()
        web.put_frontend()
        web.put_backends("b1", "b2", "b3")
        yield web


def assert_nothing_happens(node: Node, tree: Tree, web: Web) -> None:
    """Probe all backends more often than it takes to turn a verdict; then show that nothing has been written."""
    web.wait_for_probes(node, 4)
    assert_nothing_written(node, tree)


def assert_nothing_written(node: Node, tree: Tree) -> None:
    """Show that nothing has been written but what the test changes now."""
    marked = mark(node, tree)
    assert node.operations == [marked]
    node.forget()


def test_no_restart_changes_the_weight_of_a_backend(node: Node, tree: Tree, web: Web) -> None:
    with node:
        web.wait(node, b1=10, b2=10, b3=0)
        assert_all_known(node, web)

        assert node.stop() == 0
        node.start()
        assert_nothing_happens(node, tree, web)

        node.crash()
        node.start()
        assert_nothing_happens(node, tree, web)

        # nothing is remembered, nor found out before there is an answer: the kernel tells who has a weight
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
        assert_nothing_happens(node, tree, web)
        web.stop("b1")
        web.wait(node, b1=0, b2=10, b3=0)
        node.wait_for_log(r"web/b1: \S+ is down: refused \(3 failures in a row")
        assert node.operations == [web.operation("-e", "b1", 0)]


def answer_after(permitted: threading.Event, behaviour: Behaviour, connection: Connection) -> None:
    permitted.wait(60)
    behaviour(connection)


def assert_all_known(node: Node, web: Web) -> None:
    for backend in ("b1", "b2", "b3"):
        node.wait_for_log(rf"web/{backend}: \S+ is (up|down)")
    node.forget()


def test_no_process_that_is_killed_takes_a_verdict_with_it(node: Node, tree: Tree, web: Web) -> None:
    with node:
        web.wait(node, b1=10, b2=10, b3=0)
        assert_all_known(node, web)
        for killed in ([["health"]] * 2, [["director"], ["config"]], [["health", "director", "config"]]):
            for number, names in enumerate(killed, 1):
                node.kill(*names)
                node.wait_for_log("killed by SIGKILL", number * len(names))
            assert_nothing_happens(node, tree, web)
        assert "is up" not in node.log
        assert "is down" not in node.log

        web.servers["b2"].behaviour = answer(500)
        web.servers["b3"].behaviour = answer(200)
        web.wait(node, b1=10, b2=0, b3=10)
        # not new to those who have been killed: the first success is not enough
        node.wait_for_log(r"web/b2: \S+ is down: HTTP 500 \(3 failures in a row")
        assert web.operations(node, "b1") == []


def test_a_health_process_that_is_stuck_changes_nothing_and_is_replaced(node: Node, tree: Tree, web: Web) -> None:
    node.start("--stuck-timeout", "2")
    try:
        web.wait(node, b1=10, b2=10, b3=0)
        assert_all_known(node, web)
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


def test_once_waits_for_verdicts_and_applies_what_they_say(node: Node, tree: Tree, web: Web) -> None:
    expected = [f"-A {web.virtual} -s wlc", *(reals(web, b1=10, b2=10, b3=0))]
    assert node.once("--noop") == 0
    assert node.only_table == sorted(expected)
    planned = node.operations
    assert saved() == []

    assert node.once() == 0
    assert node.operations == planned == [f"ipvsadm {line}" for line in expected]
    assert node.only_table == saved() == sorted(expected)

    # nothing is remembered: what fails now is down
    web.servers["b1"].behaviour = answer(500)
    web.servers["b3"].behaviour = answer(200)
    assert node.once() == 0
    assert sorted(node.operations) == [web.operation("-e", "b1", 0), web.operation("-e", "b3", 10)]


def test_once_goes_on_without_the_verdicts_that_do_not_come_in_time(node: Node, web: Web) -> None:
    web.servers["b2"].behaviour = stay_silent
    web.put_check(interval=60, timeout=60, fast_interval=0.1)

    assert node.once("--once-timeout", "5") == 0

    assert "warning: health: starting without verdicts on 1 backends" in node.log
    assert "warning: health: no verdict yet: web/b2: " in node.log
    assert saved() == sorted([f"-A {web.virtual} -s wlc", *reals(web, b1=10, b2=0, b3=0)])


def reals(web: Web, **weights: int) -> list[str]:
    return [web.operation("-a", backend, weight).removeprefix("ipvsadm ") for backend, weight in weights.items()]
