import asyncio
import socket
from collections.abc import Iterator
from select import EPOLLIN, EPOLLOUT

import pytest

from clusterf.config.model import HealthCheck
from clusterf.health.probes.costs import Costs
from clusterf.health.probes.poller import Poller
from clusterf.health.targets import Target
from clusterf.lib.addresses import parse_endpoint


class FakePayer:
    target = Target(parse_endpoint("10.0.0.1:80"), HealthCheck())
    cost = 0.0


class Setup:
    """A poller, a socket whose peer the test writes to, and the calls so far."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.poller = Poller(self.loop, Costs())
        self.socket, self.peer = socket.socketpair()
        self.calls: list[str] = []

    def watch(self, events: int, name: str = "ready") -> None:
        self.poller.watch(FakePayer(), self.socket.fileno(), events, lambda: self.calls.append(name))

    def run(self) -> list[str]:
        """Run the loop for a moment, and return the calls since the last time."""
        self.loop.run_until_complete(asyncio.sleep(0.01))
        calls, self.calls = self.calls, []
        return calls


@pytest.fixture
def setup() -> Iterator[Setup]:
    setup = Setup()
    yield setup
    setup.poller.close()
    setup.loop.close()
    setup.socket.close()
    setup.peer.close()


def test_callback_is_called_while_the_socket_is_ready(setup):
    setup.watch(EPOLLIN)
    assert setup.run() == []
    setup.peer.send(b"x")
    assert "ready" in setup.run()
    setup.socket.recv(10)
    assert setup.run() == []


def test_watching_again_replaces_events_and_callback(setup):
    setup.watch(EPOLLIN, "in")
    setup.watch(EPOLLOUT, "out")
    setup.peer.send(b"x")
    assert set(setup.run()) == {"out"}


def test_forgotten_socket_is_not_called(setup):
    setup.watch(EPOLLIN)
    setup.peer.send(b"x")
    setup.poller.forget(setup.socket.fileno())
    assert setup.run() == []


def test_callback_may_forget_another_socket(setup):
    other, peer = socket.socketpair()
    with other, peer:
        sockets = {setup.socket.fileno(): setup.socket, other.fileno(): other}

        def forget(descriptor: int) -> None:
            setup.calls.append("first")
            for each in sockets:
                setup.poller.forget(each)

        for descriptor in sockets:
            setup.poller.watch(FakePayer(), descriptor, EPOLLIN, lambda descriptor=descriptor: forget(descriptor))
        setup.peer.send(b"x")
        peer.send(b"x")
        assert setup.run() == ["first"]


def test_closed_poller_calls_nothing(setup):
    setup.watch(EPOLLOUT)
    setup.poller.close()
    setup.poller.close()
    assert setup.run() == []
