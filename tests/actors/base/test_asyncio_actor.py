import asyncio
import socket
import threading

import pykka
import pytest
from pykka._envelope import Envelope

from actors.base.asyncio_actor import AsyncioActor, Inbox
from actors.base.messages import Ping
from tests.waiting import wait_until


class Worker(AsyncioActor):
    """Runs what it is told in its thread; notes what it was told, and where."""

    def __init__(self):
        super().__init__()
        self.said = []
        self.threads = set()

    def on_stop(self):
        self.actor_inbox.put(Envelope(0))  # as somebody else may at any moment
        super().on_stop()

    def receive(self, message):
        self.threads.add(threading.get_ident())
        if callable(message):
            message(self)
        elif isinstance(message, int):
            self.said.append(message)
        else:
            super().receive(message)


@pytest.fixture
def ref():
    return Worker.start()


def worker(ref):
    return ref._actor_weakref()


def told(ref, work):
    """Have the actor do `work` behind all that it was told, and wait until it has."""
    done = threading.Event()
    ref.tell(lambda actor: (work(actor), done.set()))
    assert done.wait(10)


def test_messages_are_handled_in_order_by_the_thread_of_the_loop(ref):
    for number in range(1000):
        ref.tell(number)
    threads = []
    told(ref, lambda actor: actor.loop.call_soon(lambda: threads.append(threading.get_ident())))
    wait_until(lambda: threads)
    assert worker(ref).said == list(range(1000))
    assert worker(ref).threads == set(threads)
    assert threads != [threading.get_ident()]


def test_timers_run_while_no_message_comes(ref):
    fired = threading.Event()
    told(ref, lambda actor: actor.loop.call_later(0.05, fired.set))
    assert fired.wait(5)


def test_the_loop_has_its_turn_however_many_messages_wait(ref):
    turns = []

    def again(actor):
        if turns and turns[0] > 50:
            return
        actor.actor_ref.tell(again)

    def turn(actor):
        turns[:] = [turns[0] + 1 if turns else 1]
        actor.loop.call_soon(turn, actor)

    told(ref, lambda actor: (turn(actor), again(actor)))
    wait_until(lambda: turns[0] > 50)
    ref.ask(Ping(), timeout=5)


def test_input_is_heeded_while_messages_wait(ref):
    ours, theirs = socket.socketpair()
    heard = threading.Event()

    def again(actor):
        if not heard.is_set():
            actor.actor_ref.tell(again)

    with ours, theirs:
        told(ref, lambda actor: (actor.loop.add_reader(ours, heard.set), again(actor)))
        theirs.send(b"x")
        assert heard.wait(5)
        told(ref, lambda actor: actor.loop.remove_reader(ours))


def test_no_message_is_lost_that_many_threads_tell(ref):
    def tell(first):
        for number in range(first, first + 500):
            ref.tell(number)

    threads = [threading.Thread(target=tell, args=(n * 500,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    told(ref, lambda actor: None)
    assert sorted(worker(ref).said) == list(range(4000))


def test_each_message_wakes_an_idle_loop(ref):
    for _ in range(300):
        ref.ask(Ping(), timeout=5)


def test_what_is_told_before_the_start_is_not_lost():
    actor = Worker()
    actor.actor_ref.tell(1)
    pykka.ActorRegistry.register(actor.actor_ref)
    actor._start_actor_loop()
    told(actor.actor_ref, lambda actor: None)
    assert actor.said == [1]


def fail(*_):
    raise ZeroDivisionError("a bug")


async def fail_later():
    await asyncio.sleep(0)
    fail()


@pytest.mark.parametrize(
    "work",
    [
        lambda actor: actor.loop.call_soon(fail),
        lambda actor: actor.loop.call_later(0.01, fail),
        lambda actor: actor.loop.create_task(fail_later()) and None,
        fail,
    ],
)
def test_a_failure_in_the_loop_is_one_of_the_actor(ref, caplog, work):
    ref.tell(work)
    assert ref.actor_stopped.wait(5)
    wait_until(lambda: worker(ref) is None or worker(ref).loop.is_closed())
    assert "Worker failed: ZeroDivisionError('a bug')" in caplog.text


def test_the_trouble_of_one_connection_is_only_reported(ref, caplog):
    trouble = {"message": "Fatal error", "exception": ValueError("odd"), "transport": None}
    told(ref, lambda actor: actor.loop.call_exception_handler(trouble))
    told(ref, lambda actor: actor.loop.call_exception_handler({"message": "Unclosed connection"}))
    told(ref, lambda actor: None)
    assert "Worker: Fatal error: ValueError('odd')" in caplog.text
    assert "Worker: Unclosed connection" in caplog.text
    assert ref.is_alive()


def test_a_stop_ends_tasks_and_closes_the_loop(ref):
    ended = []

    async def wait():
        try:
            await asyncio.sleep(100)
        finally:
            ended.append(True)

    tasks = []
    told(ref, lambda actor: tasks.append(actor.loop.create_task(wait())))
    actor = worker(ref)
    assert ref.stop(timeout=5)
    assert ended == [True]
    assert actor.loop.is_closed()


def test_whoever_tells_one_that_stops_is_not_hurt(ref):
    actor = worker(ref)
    stopped = threading.Event()

    def tell():
        # also past its end, as by one who has seen it alive a moment before
        while not stopped.wait(0.0001):
            actor.actor_inbox.put(Envelope(1))

    thread = threading.Thread(target=tell)
    thread.start()
    try:
        assert ref.stop(timeout=5)
        wait_until(actor.loop.is_closed)
    finally:
        stopped.set()
        thread.join()


def test_what_it_does_not_handle_is_a_failure(ref):
    ref.tell("nonsense")
    assert ref.actor_stopped.wait(5)


def test_a_failing_start_leaves_a_dead_actor(monkeypatch):
    def broken():
        raise OSError("no descriptors")

    monkeypatch.setattr(asyncio, "new_event_loop", broken)
    ref = Worker.start()
    assert ref.actor_stopped.wait(5)


def test_an_inbox_knows_its_length():
    inbox = Inbox()
    assert inbox.empty()
    inbox.put(1)
    inbox.put(2)
    assert (inbox.empty(), inbox.qsize()) == (False, 2)
    assert (inbox.get(), inbox.get()) == (1, 2)
