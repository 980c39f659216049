"""What a child process does with the messages of its supervisor, in the process of the test."""

import socket
import threading

import pykka
import pytest

from actors.base.messages import Confirm, Leave, Ping, Reload
from actors.link.links import Links
from actors.supervision import child, control
from tests.waiting import wait_until


class Recorder(pykka.ThreadingActor):
    """Keeps its messages, and when it was stopped; a ping waits for `free`."""

    def __init__(self, name, log, free):
        super().__init__()
        self._name = name
        self._log = log
        self._free = free

    def on_receive(self, message):
        match message:
            case Ping():
                self._free.wait(10)
            case "fail":
                raise ValueError("failed")
            case _:
                self._log.append((self._name, message))

    def on_stop(self):
        self._log.append((self._name, "stopped"))


class Hosting:
    """A listener on two actors, in a thread; `supervisor` is the other end of its control socket."""

    def __init__(self):
        self.supervisor, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.theirs = theirs
        self.log = []
        self.free = threading.Event()
        self.free.set()
        self.actors = [Recorder.start(name, self.log, self.free) for name in ("first", "second")]
        self.links = Links(lambda *_: None)
        self.status = []
        listener = child._Listener(self.actors, theirs, lambda message: control.send(theirs, message), self.links)
        self.thread = threading.Thread(target=lambda: self.status.append(listener.run()), daemon=True)
        self.thread.start()

    def send(self, *messages):
        for message in messages:
            control.send(self.supervisor, message)

    def ended(self):
        """Return the exit status."""
        self.thread.join(10)
        return self.status[0]


@pytest.fixture
def hosting():
    hosting = Hosting()
    hosting.supervisor.settimeout(10)
    yield hosting
    hosting.free.set()
    hosting.supervisor.close()
    hosting.thread.join(10)
    hosting.theirs.close()


def test_reload_and_confirm_are_passed_on_to_every_actor(hosting):
    hosting.send(Reload(), Confirm(), control.Stop())
    assert hosting.ended() == 0
    for name in ("first", "second"):
        assert [message for one, message in hosting.log if one == name] == [Reload(), Confirm(), Leave(), "stopped"]


def test_actors_are_stopped_against_the_flow(hosting):
    hosting.send(control.Stop())
    assert hosting.ended() == 0
    assert [name for name, message in hosting.log if message == "stopped"] == ["second", "first"]


def test_pong_is_sent_once_every_actor_has_replied(hosting):
    hosting.free.clear()
    hosting.send(Ping())
    hosting.supervisor.settimeout(0.1)
    with pytest.raises(TimeoutError):
        control.receive(hosting.supervisor)
    hosting.free.set()
    hosting.supervisor.settimeout(10)
    assert control.receive(hosting.supervisor) == control.Pong()


def test_listener_goes_on_while_an_actor_does_not_reply(hosting):
    hosting.free.clear()
    hosting.send(Ping(), Reload(), Ping())
    hosting.free.set()
    assert [control.receive(hosting.supervisor) for _ in range(2)] == [control.Pong()] * 2
    wait_until(lambda: ("second", Reload()) in hosting.log)


def test_end_of_a_link_is_passed_on_to_it(hosting):
    delivered = []
    hosting.links.subscribe("config", lambda connection, number: delivered.append((connection, number)))
    ours, theirs = socket.socketpair()
    with ours, theirs:
        control.send(hosting.supervisor, control.LinkEnd("config", "config", 7), theirs)
        hosting.send(control.LinkEnd("config", "config", 8))
    wait_until(lambda: len(delivered) == 2)
    (connection, number), lost = delivered
    assert (number, lost) == (7, (None, 8))
    with connection:
        assert connection.recv(1) == b""


def test_child_without_a_supervisor_stops_in_order(hosting):
    hosting.supervisor.close()
    assert hosting.ended() == 0
    assert ("first", Leave()) not in hosting.log
    assert ("first", "stopped") in hosting.log


def test_failed_actor_ends_the_child_as_crashed(hosting):
    watcher = threading.Thread(target=child._watch, args=(hosting.actors[0], hosting.theirs), daemon=True)
    watcher.start()
    hosting.actors[0].tell("fail")
    assert hosting.ended() == child.CRASHED
    watcher.join(10)


def test_ping_of_a_dead_actor_gets_no_pong(hosting):
    hosting.actors[1].stop()
    hosting.send(Ping(), control.Stop())
    assert hosting.ended() == child.CRASHED
    hosting.theirs.shutdown(socket.SHUT_RDWR)
    assert control.receive(hosting.supervisor) is None
