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
    """Runs callables that it receives, and records numbers and its threads."""

    def __init__(self):
        super().__init__()
        self.numbers = []
        self.threads = set()

    def on_stop(self):
        self.actor_inbox.put(Envelope(0))  # as another thread may at any time
        super().on_stop()

    def receive(self, message):
        self.threads.add(threading.get_ident())
        if callable(message):
            message(self)
        elif isinstance(message, int):
            self.numbers.append(message)
        else:
            super().receive(message)


@pytest.fixture
def ref():
    return Worker.start()


def worker(ref):
    return ref._actor_weakref()


def run_in(ref, work):
    """Run `work` in the actor, after all messages so far, and wait for its end."""
    done = threading.Event()
    ref.tell(lambda actor: (work(actor), done.set()))
    assert done.wait(10)


def test_messages_are_handled_in_order_in_the_thread_of_the_loop(ref):
    for number in range(1000):
        ref.tell(number)
    threads = []
    run_in(ref, lambda actor: actor.loop.call_soon(lambda: threads.append(threading.get_ident())))
    wait_until(lambda: threads)
    assert worker(ref).numbers == list(range(1000))
    assert worker(ref).threads == set(threads)
    assert threads != [threading.get_ident()]


def test_timers_run_without_messages(ref):
    fired = threading.Event()
    run_in(ref, lambda actor: actor.loop.call_later(0.05, fired.set))
    assert fired.wait(5)


def test_loop_runs_while_messages_are_waiting(ref):
    turns = []

    def again(actor):
        if turns and turns[0] > 50:
            return
        actor.actor_ref.tell(again)

    def turn(actor):
        turns[:] = [turns[0] + 1 if turns else 1]
        actor.loop.call_soon(turn, actor)

    run_in(ref, lambda actor: (turn(actor), again(actor)))
    wait_until(lambda: turns[0] > 50)
    ref.ask(Ping(), timeout=5)


def test_input_is_read_while_messages_are_waiting(ref):
    ours, theirs = socket.socketpair()
    heard = threading.Event()

    def again(actor):
        if not heard.is_set():
            actor.actor_ref.tell(again)

    with ours, theirs:
        run_in(ref, lambda actor: (actor.loop.add_reader(ours, heard.set), again(actor)))
        theirs.send(b"x")
        assert heard.wait(5)
        run_in(ref, lambda actor: actor.loop.remove_reader(ours))


def test_no_message_of_many_threads_is_lost(ref):
    def tell(first):
        for number in range(first, first + 500):
            ref.tell(number)

    threads = [threading.Thread(target=tell, args=(n * 500,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    run_in(ref, lambda actor: None)
    assert sorted(worker(ref).numbers) == list(range(4000))


def test_message_wakes_an_idle_loop(ref):
    for _ in range(300):
        ref.ask(Ping(), timeout=5)


def test_message_from_before_the_start_is_not_lost():
    actor = Worker()
    actor.actor_ref.tell(1)
    pykka.ActorRegistry.register(actor.actor_ref)
    actor._start_actor_loop()
    run_in(actor.actor_ref, lambda actor: None)
    assert actor.numbers == [1]


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
def test_exception_in_the_loop_stops_the_actor(ref, caplog, work):
    ref.tell(work)
    assert ref.actor_stopped.wait(5)
    wait_until(lambda: worker(ref) is None or worker(ref).loop.is_closed())
    assert "Worker failed: ZeroDivisionError('a bug')" in caplog.text


def test_error_of_a_connection_is_only_logged(ref, caplog):
    trouble = {"message": "Fatal error", "exception": ValueError("odd"), "transport": None}
    run_in(ref, lambda actor: actor.loop.call_exception_handler(trouble))
    run_in(ref, lambda actor: actor.loop.call_exception_handler({"message": "Unclosed connection"}))
    run_in(ref, lambda actor: None)
    assert "Worker: Fatal error: ValueError('odd')" in caplog.text
    assert "Worker: Unclosed connection" in caplog.text
    assert ref.is_alive()


def test_stop_cancels_tasks_and_closes_the_loop(ref):
    ended = []

    async def wait():
        try:
            await asyncio.sleep(100)
        finally:
            ended.append(True)

    tasks = []
    run_in(ref, lambda actor: tasks.append(actor.loop.create_task(wait())))
    actor = worker(ref)
    assert ref.stop(timeout=5)
    assert ended == [True]
    assert actor.loop.is_closed()


def test_messages_to_a_stopping_actor_raise_nothing(ref):
    actor = worker(ref)
    stopped = threading.Event()

    def tell():
        # goes on after the stop, as by a thread that has seen the actor alive a moment before
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


def test_unexpected_message_stops_the_actor(ref):
    ref.tell("nonsense")
    assert ref.actor_stopped.wait(5)


def test_exception_on_start_leaves_a_dead_actor(monkeypatch):
    def broken():
        raise OSError("no descriptors")

    monkeypatch.setattr(asyncio, "new_event_loop", broken)
    ref = Worker.start()
    assert ref.actor_stopped.wait(5)


def test_inbox_has_a_length():
    inbox = Inbox()
    assert inbox.empty()
    inbox.put(1)
    inbox.put(2)
    assert (inbox.empty(), inbox.qsize()) == (False, 2)
    assert (inbox.get(), inbox.get()) == (1, 2)
