import contextlib
import socket
import threading
import time
from pathlib import Path

from actors.link import publisher, subscription
from actors.link.messages import ProblemsAre, ProblemsKey, Synced, ValueIs
from clusterf.config.model import Backend, BackendKey
from clusterf.config.problems import Problem
from tests.actors.support.link import backend, deletion, publishing, state_of, subscribed
from tests.waiting import wait_until


def open_files():
    return len(list(Path("/proc/self/fd").iterdir()))


def test_unchanged_value_is_not_sent_again(links, recorder_ref, recorder):
    with publishing(links, backend(1)) as publisher, subscribed(links, recorder_ref):
        wait_until(lambda: recorder.syncs)
        seen = len(recorder.messages)
        publisher.publish([backend(1), deletion(9)], synced=True)
        publisher.publish([backend(2)], synced=True)
        wait_until(lambda: len(recorder.state) == 2)
        assert recorder.messages[seen:] == [backend(2)]


def test_all_subscribers_receive_the_same_state(links, recorder_ref, recorder):
    with publishing(links, backend(1)) as publisher, contextlib.ExitStack() as stack:
        others = [type(recorder).start() for _ in range(3)]
        for ref in (recorder_ref, *others):
            stack.enter_context(subscribed(links, ref))
        publisher.publish([backend(2)], synced=True)
        for ref in (recorder_ref, *others):
            actor = ref._actor_weakref()
            wait_until(lambda actor=actor: actor.state == state_of(backend(1), backend(2)))


def test_slow_subscriber_receives_only_the_newest_values(links, recorder_ref, recorder):
    with publishing(links) as publisher, subscribed(links, recorder_ref):
        wait_until(lambda: recorder.syncs)
        recorder.taking.clear()
        for weight in range(3000):
            publisher.publish(
                [ValueIs(BackendKey(b"web", b"%d" % number), Backend(weight=weight)) for number in range(10)],
                synced=True,
            )
            publisher.publish([backend(100 + weight), deletion(100 + weight)], synced=True)
        publisher.publish([backend(99)], synced=True)
        (subscriber,) = publisher._subscribers
        assert len(publisher) == 11
        assert len(subscriber.view.pending) <= 3011
        recorder.taking.set()
        wait_until(lambda: backend(99).key in recorder.state)
        assert all(recorder.state[backend(number).key].value.weight == 2999 for number in range(10))
        assert len(recorder.messages) < 20_000
        sent = {message.key for message in recorder.messages if not isinstance(message, Synced) and message.value}
        removed = {m.key for m in recorder.messages if not isinstance(m, Synced) and m.value is None}
        assert removed <= sent


def test_many_keys_are_sent(links, recorder_ref, recorder):
    messages = [backend(number) for number in range(20_000)]
    with publishing(links, *messages), subscribed(links, recorder_ref):
        started = time.monotonic()
        wait_until(lambda: recorder.syncs)
        assert len(recorder.state) == 20_000
        assert time.monotonic() - started < 5


def test_large_messages_are_sent_in_several_frames(links, recorder_ref, recorder, monkeypatch):
    monkeypatch.setattr(publisher, "_FULL", 10_000)
    monkeypatch.setattr(subscription, "_LONGEST", 30_000)
    messages = [
        ProblemsAre(ProblemsKey("s", b"%d" % number), (Problem("s", b"", "", "x" * 9_000, fatal=True),))
        for number in range(50)
    ]
    with publishing(links, *messages), subscribed(links, recorder_ref):
        wait_until(lambda: recorder.syncs)
        assert len(recorder.state) == 50


def test_publisher_replaces_an_earlier_one(links, recorder_ref, recorder):
    with publishing(links, backend(1)), publishing(links, backend(2)), subscribed(links, recorder_ref):
        wait_until(lambda: recorder.syncs)
        assert recorder.state == state_of(backend(2))


def test_subscribers_that_disconnect_leave_no_descriptor_and_no_thread(links, recorder_ref, recorder):
    with publishing(links, backend(1)) as publisher:
        descriptors = threads = 0
        for turn in range(20):
            with subscribed(links, recorder_ref):
                wait_until(lambda turn=turn: recorder.syncs == turn + 1)
            if turn == 4:
                descriptors, threads = open_files(), threading.active_count()
        wait_until(lambda: open_files() <= descriptors and threading.active_count() <= threads)
        assert len(publisher._subscribers) <= 2


def test_half_closed_subscriber_is_dropped(links):
    ours, theirs = socket.socketpair()
    with publishing(links) as publisher, ours:
        publisher._connect(theirs, 1)
        ours.shutdown(socket.SHUT_WR)
        publisher.publish([backend(1)], synced=True)
        wait_until(lambda: not publisher._subscribers)


def test_connection_that_did_not_arrive_is_no_subscriber(links):
    with publishing(links) as publisher:
        publisher._connect(None, 1)
        assert not publisher._subscribers


def test_stopped_publisher_accepts_no_connection_and_ends_its_threads(links, recorder_ref, recorder):
    with publishing(links, backend(1)) as publisher, subscribed(links, recorder_ref) as subscription:
        wait_until(lambda: recorder.syncs)
    ours, theirs = socket.socketpair()
    with ours:
        publisher._connect(theirs, 2)
        ours.settimeout(10)
        assert ours.recv(1) == b""
    wait_until(lambda: not subscription._thread.is_alive())
    wait_until(lambda: not publisher._subscribers)
