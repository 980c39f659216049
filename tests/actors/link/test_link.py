import contextlib
import socket
import struct
import threading
import time
from pathlib import Path

import pytest

from actors.link import publisher, subscription
from actors.link.messages import ProblemsAre, ProblemsKey, Synced, ValueIs, deletion_of
from actors.link.publisher import Publisher
from actors.link.subscription import CREDIT
from clusterf.config.model import Backend, BackendKey, Frontend, FrontendKey
from clusterf.config.problems import Problem
from tests.actors.support.recorder import subscribe
from tests.waiting import wait_until


def backend(number, weight=1):
    return ValueIs(BackendKey(b"web", b"%d" % number), Backend(weight=weight))


def gone(number):
    return deletion_of(BackendKey(b"web", b"%d" % number))


def state_of(*messages):
    return {message.key: message for message in messages}


@contextlib.contextmanager
def publishing(path, *messages, synced=True):
    publisher = Publisher(path)
    publisher.publish(messages, synced=synced)
    publisher.start()
    try:
        yield publisher
    finally:
        publisher.stop()


@contextlib.contextmanager
def subscribed(path, ref):
    subscription = subscribe(path, ref)
    try:
        yield subscription
    finally:
        subscription.stop()


@contextlib.contextmanager
def serving(path):
    """Listen as a sender of rubbish; yield what gives the next connection."""
    with socket.socket(socket.AF_UNIX) as listener, contextlib.ExitStack() as stack:
        listener.bind(str(path))
        listener.listen()
        yield lambda: stack.enter_context(listener.accept()[0])


@pytest.fixture
def path(tmp_path):
    return tmp_path / "s.sock"


def open_files():
    return len(list(Path("/proc/self/fd").iterdir()))


def frame(*messages):
    body = publisher._encoder.encode(messages)
    return struct.pack(">I", len(body)) + body


def test_all_is_told_and_then_that_it_is_all(path, recorder_ref, recorder):
    problem = ProblemsAre(ProblemsKey("file:///x", b"a\xff"), (Problem("file:///x", b"a\xff", "f", "bad", fatal=True),))
    with (
        publishing(path, backend(1), ValueIs(FrontendKey(b"web"), Frontend()), problem),
        subscribed(path, recorder_ref),
    ):
        wait_until(lambda: recorder.syncs)
        assert recorder.state == state_of(backend(1), ValueIs(FrontendKey(b"web"), Frontend()), problem)
        assert isinstance(recorder.messages[-1], Synced)


def test_nobody_is_told_that_it_is_all_before_it_is(path, recorder_ref, recorder):
    with publishing(path, backend(1), synced=False) as publisher, subscribed(path, recorder_ref):
        wait_until(lambda: recorder.state)
        assert not recorder.syncs
        publisher.publish([backend(2)], synced=True)
        wait_until(lambda: recorder.syncs)
        assert len(recorder.state) == 2


def test_changes_and_removals_follow(path, recorder_ref, recorder):
    with publishing(path, backend(1), backend(2)) as publisher, subscribed(path, recorder_ref):
        wait_until(lambda: recorder.syncs)
        publisher.publish([backend(1, 7), gone(2), backend(3)], synced=False)
        wait_until(lambda: recorder.state == state_of(backend(1, 7), backend(3)))
        assert recorder.syncs == 1


def test_what_says_nothing_new_is_not_sent(path, recorder_ref, recorder):
    with publishing(path, backend(1)) as publisher, subscribed(path, recorder_ref):
        wait_until(lambda: recorder.syncs)
        seen = len(recorder.messages)
        publisher.publish([backend(1), gone(9)], synced=True)
        publisher.publish([backend(2)], synced=True)
        wait_until(lambda: len(recorder.state) == 2)
        assert recorder.messages[seen:] == [backend(2)]


def test_a_sender_that_is_replaced_is_found_again_and_replays(path, recorder_ref, recorder, tmp_path):
    with subscribed(path, recorder_ref):
        with publishing(path, backend(1), backend(2)):
            wait_until(lambda: recorder.syncs == 1)
        with publishing(path, backend(1), backend(3), synced=False) as second:
            wait_until(lambda: len(recorder.state) == 3)
            # what the second one has not told may still come
            assert recorder.state == state_of(backend(1), backend(2), backend(3))
            second.publish([], synced=True)
            wait_until(lambda: recorder.syncs == 2)
            assert recorder.state == state_of(backend(1), backend(3))


def test_what_was_told_before_a_break_but_never_as_a_whole_is_dropped_too(path, recorder_ref, recorder):
    with subscribed(path, recorder_ref):
        with publishing(path, backend(1), synced=False):
            wait_until(lambda: recorder.state)
        with publishing(path, backend(2)):
            wait_until(lambda: recorder.syncs)
            assert recorder.state == state_of(backend(2))


def test_what_went_again_before_all_was_told_is_not_there(path, recorder_ref, recorder):
    with subscribed(path, recorder_ref):
        with publishing(path, backend(1)):
            wait_until(lambda: recorder.syncs)
        with publishing(path, backend(1), synced=False) as second:
            wait_until(lambda: len(recorder.messages) == 3)
            second.publish([gone(1)], synced=False)
            second.publish([backend(2)], synced=True)
            wait_until(lambda: recorder.syncs == 2)
            assert recorder.state == state_of(backend(2))


def test_several_receivers_are_told_the_same(path, recorder_ref, recorder):
    with publishing(path, backend(1)) as publisher, contextlib.ExitStack() as stack:
        others = [type(recorder).start() for _ in range(3)]
        for ref in (recorder_ref, *others):
            stack.enter_context(subscribed(path, ref))
        publisher.publish([backend(2)], synced=True)
        for ref in (recorder_ref, *others):
            actor = ref._actor_weakref()
            wait_until(lambda actor=actor: actor.state == state_of(backend(1), backend(2)))


def test_a_receiver_that_does_not_take_gets_only_the_newest(path, recorder_ref, recorder):
    with publishing(path) as publisher, subscribed(path, recorder_ref):
        wait_until(lambda: recorder.syncs)
        recorder.taking.clear()
        for weight in range(3000):
            publisher.publish(
                [ValueIs(BackendKey(b"web", b"%d" % number), Backend(weight=weight)) for number in range(10)],
                synced=True,
            )
            publisher.publish([backend(100 + weight), gone(100 + weight)], synced=True)
        publisher.publish([backend(99)], synced=True)
        (subscriber,) = publisher._subscribers
        assert len(publisher) == 11
        assert len(subscriber.pending) <= 3011
        recorder.taking.set()
        wait_until(lambda: backend(99).key in recorder.state)
        assert all(recorder.state[backend(number).key].value.weight == 2999 for number in range(10))
        assert len(recorder.messages) < 20_000
        told = {message.key for message in recorder.messages if not isinstance(message, Synced) and message.value}
        removed = {m.key for m in recorder.messages if not isinstance(m, Synced) and m.value is None}
        assert removed <= told


def test_a_removal_of_what_was_never_sent_is_not_sent():
    subscriber = publisher._Subscriber(None, [])
    for key in ("a", "b", "c"):
        subscriber.pending[key] = None
    messages = subscription._decoder.decode(subscriber.frame({}, 7, synced=True)[4:])
    assert messages == [Synced(7)]
    assert not subscriber.pending


def test_many_keys_are_told(path, recorder_ref, recorder):
    messages = [backend(number) for number in range(20_000)]
    with publishing(path, *messages), subscribed(path, recorder_ref):
        started = time.monotonic()
        wait_until(lambda: recorder.syncs)
        assert len(recorder.state) == 20_000
        assert time.monotonic() - started < 5


def test_large_messages_go_in_several_frames(path, recorder_ref, recorder, monkeypatch):
    monkeypatch.setattr(publisher, "_FULL", 10_000)
    monkeypatch.setattr(subscription, "_LONGEST", 30_000)
    messages = [
        ProblemsAre(ProblemsKey("s", b"%d" % number), (Problem("s", b"", "", "x" * 9_000, fatal=True),))
        for number in range(50)
    ]
    with publishing(path, *messages), subscribed(path, recorder_ref):
        wait_until(lambda: recorder.syncs)
        assert len(recorder.state) == 50


@pytest.mark.parametrize(
    "rubbish",
    [
        b"",
        b"\0",
        b"\0\0\0\x05\x91",
        b"\xff" * 100,
        struct.pack(">I", 1 << 30),
        b"\0\0\0\x04junk",
        b"\0\0\0\x01\x91",
        b"\0\0\0\x02\x91\xc0",
        b"\0\0\0\x04\x91\x92\x09\x01",
        b"\0\0\0\x06\x91\x93\x01\xc4\x00\x05",
        b"\0\0\0\x0a\x91\x93\x01\xc4\x01w\x81\xa4\xff\xff\xff",
        b"\0\0\0\x00",
    ],
)
def test_rubbish_breaks_the_link_and_what_is_known_stays(path, recorder_ref, recorder, rubbish):
    with serving(path) as accept, subscribed(path, recorder_ref):
        first = accept()
        first.sendall(frame(backend(1), Synced(1)))
        wait_until(lambda: recorder.syncs)
        first.sendall(rubbish)
        first.shutdown(socket.SHUT_WR)
        second = accept()
        second.sendall(frame(backend(2)))
        wait_until(lambda: len(recorder.state) == 2)
        second.sendall(frame(Synced(2)))
        wait_until(lambda: recorder.syncs == 2)
        assert recorder.state == state_of(backend(2))


def test_a_sender_of_nothing_but_rubbish_is_not_asked_in_a_hot_loop(path, recorder_ref):
    with serving(path) as accept, subscribed(path, recorder_ref):
        started = time.monotonic()
        for _ in range(6):
            accept().sendall(b"\xff" * 8)
        assert time.monotonic() - started > 0.3


def test_a_receiver_that_comes_first_waits_for_the_sender(path, recorder_ref, recorder):
    with subscribed(path, recorder_ref), publishing(path, backend(1)):
        wait_until(lambda: recorder.syncs)


def test_a_sender_that_never_comes_is_worth_a_word(path, recorder_ref, monkeypatch, caplog):
    monkeypatch.setattr(subscription, "_REPORTED", 2)
    with subscribed(path, recorder_ref):
        wait_until(lambda: "no connection yet" in caplog.text)


def test_the_path_of_a_socket_may_be_very_long(tmp_path, recorder_ref, recorder):
    directory = tmp_path / ("d" * 200) / ("e" * 200)
    directory.mkdir(parents=True)
    with publishing(directory / "s.sock", backend(1)), subscribed(directory / "s.sock", recorder_ref):
        wait_until(lambda: recorder.syncs)


def test_whoever_has_listened_at_the_path_before_is_replaced(path, recorder_ref, recorder):
    path.write_text("left behind")
    with publishing(path, backend(1)), publishing(path, backend(2)), subscribed(path, recorder_ref):
        wait_until(lambda: recorder.syncs)
        assert recorder.state == state_of(backend(2))


def test_receivers_that_go_leave_nothing_behind(path, recorder_ref, recorder):
    with publishing(path, backend(1)) as publisher:
        descriptors = threads = 0
        for turn in range(20):
            with subscribed(path, recorder_ref):
                wait_until(lambda turn=turn: recorder.syncs == turn + 1)
            if turn == 4:
                descriptors, threads = open_files(), threading.active_count()
        wait_until(lambda: open_files() <= descriptors and threading.active_count() <= threads)
        assert len(publisher._subscribers) <= 2


def test_a_half_closed_receiver_is_not_served_in_a_hot_loop(path):
    with publishing(path) as publisher, socket.socket(socket.AF_UNIX) as receiver:
        receiver.connect(str(path))
        receiver.shutdown(socket.SHUT_WR)
        publisher.publish([backend(1)], synced=True)
        wait_until(lambda: not publisher._subscribers)


def test_a_stopped_publisher_takes_no_one_more_and_ends_its_threads(path, recorder_ref, recorder):
    with publishing(path, backend(1)) as publisher, subscribed(path, recorder_ref) as subscription:
        wait_until(lambda: recorder.syncs)
    with socket.socket(socket.AF_UNIX) as late, contextlib.suppress(OSError):
        late.connect(str(path))
        late.settimeout(1)
        assert late.recv(1) == b""
    wait_until(lambda: not subscription._thread.is_alive())
    wait_until(lambda: not publisher._subscribers)


def test_a_subscription_can_be_stopped_while_its_actor_takes_nothing(path, recorder_ref, recorder):
    with publishing(path) as publisher, subscribed(path, recorder_ref) as subscription:
        wait_until(lambda: recorder.syncs)
        recorder.taking.clear()
        for number in range(20):
            publisher.publish([backend(number)], synced=True)
            wait_until(lambda: not any(s.pending for s in publisher._subscribers))
        subscription.stop()
        subscription._thread.join(5)
        assert not subscription._thread.is_alive()
        recorder.taking.set()


@pytest.mark.parametrize("delay", [0, 0.001, 0.05])
def test_a_subscription_can_be_stopped_at_any_moment(path, recorder_ref, delay):
    with publishing(path, backend(1)):
        subscription = subscribe(path, recorder_ref)
        threading.Event().wait(delay)
        subscription.stop()
        subscription._thread.join(5)
        assert not subscription._thread.is_alive()


def test_a_subscription_ends_with_its_actor(path, recorder_ref):
    with publishing(path, backend(1)) as publisher, subscribed(path, recorder_ref) as subscription:
        recorder_ref.stop()
        publisher.publish([backend(2)], synced=True)
        subscription._thread.join(5)
        assert not subscription._thread.is_alive()


def test_a_publisher_without_descriptors_goes_on_when_there_are_some(path, recorder_ref, recorder, caplog):
    with publishing(path, backend(1)) as publisher:
        listener, publisher._listener = publisher._listener, None
        failing = threading.Event()

        class Exhausted:
            def __enter__(self):
                return self

            def __exit__(self, *failure):
                listener.close()

            def accept(self):
                if not failing.is_set():
                    failing.set()
                    raise OSError(24, "Too many open files")
                return listener.accept()

            def shutdown(self, how):
                listener.shutdown(how)

        publisher._listener = Exhausted()
        threading.Thread(target=publisher._accept, daemon=True).start()
        wait_until(failing.is_set)
        wait_until(lambda: "Too many open files" in caplog.text)
        with subscribed(path, recorder_ref):
            wait_until(lambda: recorder.syncs)


def test_receiver_holds_no_more_frames_than_it_has_credit(path, recorder_ref, recorder):
    recorder.acknowledging = False
    with publishing(path, backend(0)) as publisher, subscribed(path, recorder_ref) as subscription:
        for number in range(1, 2 * CREDIT):
            wait_until(lambda n=number: recorder.frames == min(n, CREDIT))
            publisher.publish([backend(number)], synced=True)
        for count in range(CREDIT + 1, CREDIT + 3):
            publisher.publish([backend(count + 100)], synced=True)
            subscription.acknowledge()
            wait_until(lambda count=count: recorder.frames == count)
            recorder_ref.ask("anything more?", timeout=10)
            assert recorder.frames == count


def test_credit_is_not_renewed_by_a_new_connection(path, recorder_ref, recorder):
    recorder.acknowledging = False
    with subscribed(path, recorder_ref) as subscription:
        for turn in range(CREDIT + 2):
            with publishing(path, backend(turn)):
                wait_until(lambda turn=turn: recorder.frames == min(turn + 1, CREDIT))
        assert recorder.frames == CREDIT
        recorder.acknowledging = True
        for _ in range(CREDIT):
            subscription.acknowledge()
        with publishing(path, backend(99)):
            wait_until(lambda: recorder.state == state_of(backend(99)))
