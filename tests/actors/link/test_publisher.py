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


def test_unchanged_value_is_not_sent_again(path, recorder_ref, recorder):
    with publishing(path, backend(1)) as publisher, subscribed(path, recorder_ref):
        wait_until(lambda: recorder.syncs)
        seen = len(recorder.messages)
        publisher.publish([backend(1), deletion(9)], synced=True)
        publisher.publish([backend(2)], synced=True)
        wait_until(lambda: len(recorder.state) == 2)
        assert recorder.messages[seen:] == [backend(2)]


def test_all_subscribers_receive_the_same_state(path, recorder_ref, recorder):
    with publishing(path, backend(1)) as publisher, contextlib.ExitStack() as stack:
        others = [type(recorder).start() for _ in range(3)]
        for ref in (recorder_ref, *others):
            stack.enter_context(subscribed(path, ref))
        publisher.publish([backend(2)], synced=True)
        for ref in (recorder_ref, *others):
            actor = ref._actor_weakref()
            wait_until(lambda actor=actor: actor.state == state_of(backend(1), backend(2)))


def test_slow_subscriber_receives_only_the_newest_values(path, recorder_ref, recorder):
    with publishing(path) as publisher, subscribed(path, recorder_ref):
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


def test_many_keys_are_sent(path, recorder_ref, recorder):
    messages = [backend(number) for number in range(20_000)]
    with publishing(path, *messages), subscribed(path, recorder_ref):
        started = time.monotonic()
        wait_until(lambda: recorder.syncs)
        assert len(recorder.state) == 20_000
        assert time.monotonic() - started < 5


def test_large_messages_are_sent_in_several_frames(path, recorder_ref, recorder, monkeypatch):
    monkeypatch.setattr(publisher, "_FULL", 10_000)
    monkeypatch.setattr(subscription, "_LONGEST", 30_000)
    messages = [
        ProblemsAre(ProblemsKey("s", b"%d" % number), (Problem("s", b"", "", "x" * 9_000, fatal=True),))
        for number in range(50)
    ]
    with publishing(path, *messages), subscribed(path, recorder_ref):
        wait_until(lambda: recorder.syncs)
        assert len(recorder.state) == 50


def test_publisher_replaces_an_earlier_one_at_its_path(path, recorder_ref, recorder):
    path.write_text("left behind")
    with publishing(path, backend(1)), publishing(path, backend(2)), subscribed(path, recorder_ref):
        wait_until(lambda: recorder.syncs)
        assert recorder.state == state_of(backend(2))


def test_subscribers_that_disconnect_leave_no_descriptor_and_no_thread(path, recorder_ref, recorder):
    with publishing(path, backend(1)) as publisher:
        descriptors = threads = 0
        for turn in range(20):
            with subscribed(path, recorder_ref):
                wait_until(lambda turn=turn: recorder.syncs == turn + 1)
            if turn == 4:
                descriptors, threads = open_files(), threading.active_count()
        wait_until(lambda: open_files() <= descriptors and threading.active_count() <= threads)
        assert len(publisher._subscribers) <= 2


def test_half_closed_subscriber_is_dropped(path):
    with publishing(path) as publisher, socket.socket(socket.AF_UNIX) as receiver:
        receiver.connect(str(path))
        receiver.shutdown(socket.SHUT_WR)
        publisher.publish([backend(1)], synced=True)
        wait_until(lambda: not publisher._subscribers)


def test_stopped_publisher_accepts_no_connection_and_ends_its_threads(path, recorder_ref, recorder):
    with publishing(path, backend(1)) as publisher, subscribed(path, recorder_ref) as subscription:
        wait_until(lambda: recorder.syncs)
    with socket.socket(socket.AF_UNIX) as late, contextlib.suppress(OSError):
        late.connect(str(path))
        late.settimeout(1)
        assert late.recv(1) == b""
    wait_until(lambda: not subscription._thread.is_alive())
    wait_until(lambda: not publisher._subscribers)


def test_publisher_recovers_from_a_lack_of_descriptors(path, recorder_ref, recorder, caplog):
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
