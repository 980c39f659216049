"""A health process that crashes again and again, as if somebody had taken it over, in a real node."""

import contextlib
import os
import signal
from collections.abc import Callable, Iterator

import pytest

from tests.servers import answer
from tests.system.support.node import Node, Tree
from tests.system.support.web import Web, mark
from tests.waiting import wait_until

pytestmark = [pytest.mark.ipvs, pytest.mark.timeout(400)]

LOOP = "crash loop: 11 exits, never 60 seconds between; restarting it for ever, no longer logging each"


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


def kill_until(node: Node, condition: Callable[[set[int]], bool]) -> None:
    """Kill each health process as soon as there is one, until the condition holds for the pids of all of them."""
    killed: set[int] = set()

    def kill() -> bool:
        with contextlib.suppress(ProcessLookupError, FileNotFoundError):
            if (pid := node.children().get("health")) is not None:
                os.kill(pid, signal.SIGKILL)
                killed.add(pid)
        return condition(killed)

    with node.explained():
        wait_until(kill, 150)


def test_node_goes_on_without_a_health_process_in_a_crash_loop(node: Node, tree: Tree, web: Web) -> None:
    with node:
        web.wait(node, b1=10, b2=10, b3=0)
        node.wait_for_log(r"web/b3: \S+ is down")
        node.forget()
        kill_until(node, lambda killed: len(killed) == 15 or not node.running)
        assert node.running
        assert node.log.count("killed by SIGKILL, restarting in ") == 10
        assert node.log.count(LOOP) == 1
        assert node.operations == []
        operation = mark(node, tree)
        assert node.operations == [operation]

        # a director that is started meanwhile knows no verdict, but the kernel's table
        node.forget()
        web.serve("b4")
        web.put_backends("b4")
        node.kill("director")
        kill_until(node, lambda _: "health: process health does not report its verdicts: starting" in node.log)
        web.wait(node, b1=10, b2=10, b3=0, b4=0)
        web.wait(node, b1=10, b2=10, b3=0, b4=10)
        assert node.operations == [web.operation("-a", "b4", 0), web.operation("-e", "b4", 10)]
        assert "health: process health has reported its verdicts" in node.log


def test_node_ends_if_a_health_process_never_comes_up(node: Node, web: Web) -> None:
    node.start()
    kill_until(node, lambda _: not node.running)
    assert node.wait() == 1
    assert "giving up: 11 exits of processes within 60 seconds" in node.log
    assert node.operations == []
