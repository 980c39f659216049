import threading

import pykka
import pytest

from actors.base.actor import Actor
from actors.base.messages import Confirm, Crashed, Leave, Ping, Reload, Upstream
from tests.actors.support.recorder import Recorder
from tests.waiting import wait_until


class Noting(Actor):
    """Notes its messages, and which of its methods are called."""

    def __init__(self):
        super().__init__()
        self.noted = []

    def receive(self, message):
        match message:
            case str():
                self.noted.append(message)
            case pykka.ActorRef():
                message.tell("to a dead actor")
                self.noted.append("not reached")
            case ("later", seconds):
                self.tell_later(seconds, "later")
            case ("upstream", text):
                self.tell_upstream(text)
            case _:
                super().receive(message)

    def reload(self):
        self.noted.append("reload")

    def confirm(self):
        self.noted.append("confirm")

    def leave(self):
        self.noted.append("leave")


@pytest.fixture
def ref():
    return Noting.start()


def noted(ref):
    """Return what the actor has noted so far."""
    ref.ask(Ping(), timeout=10)
    return ref._actor_weakref().noted


def test_ping_is_answered_without_the_help_of_receive(ref):
    assert ref.ask(Ping(), timeout=10) is None
    assert noted(ref) == []


@pytest.mark.parametrize(("message", "name"), [(Reload(), "reload"), (Confirm(), "confirm"), (Leave(), "leave")])
def test_message_of_the_child_process_calls_its_method(ref, message, name):
    ref.tell(message)
    assert noted(ref) == [name]


@pytest.mark.parametrize("message", [Reload(), Confirm(), Leave()])
def test_message_of_the_child_process_is_ignored_by_default(message):
    ref = Actor.start()
    ref.tell(message)
    ref.ask(Ping(), timeout=10)
    assert ref.is_alive()


def test_crash_of_the_own_thread_fails_the_actor(ref, caplog):
    ref.tell(Crashed(ValueError("broken")))
    wait_until(lambda: "Noting failed: ValueError('broken')" in caplog.text)
    assert not ref.is_alive()


def test_unknown_message_fails_the_actor(ref, caplog):
    ref.tell(7)
    wait_until(lambda: "Noting does not handle 7" in caplog.text)
    assert not ref.is_alive()


def test_message_to_a_dead_receiver_is_dropped(ref, caplog):
    caplog.set_level("DEBUG")
    dead = Recorder.start()
    dead.stop()
    ref.tell(dead)
    assert noted(ref) == []
    assert ref.is_alive()
    assert "Noting: message dropped:" in caplog.text


def test_message_told_later_arrives_later(ref):
    ref.tell(("later", 0.05))
    ref.tell("sooner")
    wait_until(lambda: noted(ref) == ["sooner", "later"])


def test_message_told_later_to_a_stopped_actor_is_dropped(ref, monkeypatch):
    failures = []
    monkeypatch.setattr(threading, "excepthook", failures.append)
    ref.tell(("later", 0.05))
    ref.stop()
    for timer in [thread for thread in threading.enumerate() if isinstance(thread, threading.Timer)]:
        timer.join(10)
    assert failures == []


def test_upstream_receives_what_flows_back(ref):
    ref.tell(("upstream", "before it has introduced itself"))
    recorder = Recorder.start()
    ref.tell(Upstream(recorder))
    ref.tell(("upstream", "credit"))
    wait_until(lambda: recorder._actor_weakref().messages == ["credit"])


def test_message_to_a_dead_upstream_is_dropped(ref, caplog):
    recorder = Recorder.start()
    ref.tell(Upstream(recorder))
    recorder.stop()
    ref.tell(("upstream", "credit"))
    ref.tell("after")
    assert noted(ref) == ["after"]
