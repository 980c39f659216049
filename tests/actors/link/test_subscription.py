import socket
import struct
import threading
import time

import pytest

from actors.link import subscription
from actors.link.messages import ProblemsAre, ProblemsKey, Synced, ValueIs
from actors.link.received import CREDIT
from clusterf.config.model import Frontend, FrontendKey
from clusterf.config.problems import Problem
from tests.actors.support.link import backend, deletion, frame, publishing, serving, state_of, subscribed
from tests.actors.support.recorder import subscribe
from tests.waiting import wait_until


def test_whole_state_is_received_and_then_synced(path, recorder_ref, recorder):
    problem = ProblemsAre(ProblemsKey("file:///x", b"a\xff"), (Problem("file:///x", b"a\xff", "f", "bad", fatal=True),))
    with (
        publishing(path, backend(1), ValueIs(FrontendKey(b"web"), Frontend()), problem),
        subscribed(path, recorder_ref),
    ):
        wait_until(lambda: recorder.syncs)
        assert recorder.state == state_of(backend(1), ValueIs(FrontendKey(b"web"), Frontend()), problem)
        assert isinstance(recorder.messages[-1], Synced)


def test_synced_is_not_received_before_the_publisher_is_synced(path, recorder_ref, recorder):
    with publishing(path, backend(1), synced=False) as publisher, subscribed(path, recorder_ref):
        wait_until(lambda: recorder.state)
        assert not recorder.syncs
        publisher.publish([backend(2)], synced=True)
        wait_until(lambda: recorder.syncs)
        assert len(recorder.state) == 2


def test_changes_and_deletions_are_received(path, recorder_ref, recorder):
    with publishing(path, backend(1), backend(2)) as publisher, subscribed(path, recorder_ref):
        wait_until(lambda: recorder.syncs)
        publisher.publish([backend(1, 7), deletion(2), backend(3)], synced=False)
        wait_until(lambda: recorder.state == state_of(backend(1, 7), backend(3)))
        assert recorder.syncs == 1


def test_replaced_publisher_is_found_and_sends_its_state_again(path, recorder_ref, recorder, tmp_path):
    with subscribed(path, recorder_ref):
        with publishing(path, backend(1), backend(2)):
            wait_until(lambda: recorder.syncs == 1)
        with publishing(path, backend(1), backend(3), synced=False) as second:
            wait_until(lambda: len(recorder.state) == 3)
            # what the second one has not sent may still come
            assert recorder.state == state_of(backend(1), backend(2), backend(3))
            second.publish([], synced=True)
            wait_until(lambda: recorder.syncs == 2)
            assert recorder.state == state_of(backend(1), backend(3))


def test_keys_of_a_publisher_that_was_never_synced_are_deleted_after_a_reconnect(path, recorder_ref, recorder):
    with subscribed(path, recorder_ref):
        with publishing(path, backend(1), synced=False):
            wait_until(lambda: recorder.state)
        with publishing(path, backend(2)):
            wait_until(lambda: recorder.syncs)
            assert recorder.state == state_of(backend(2))


def test_key_deleted_between_a_reconnect_and_synced_is_deleted(path, recorder_ref, recorder):
    with subscribed(path, recorder_ref):
        with publishing(path, backend(1)):
            wait_until(lambda: recorder.syncs)
        with publishing(path, backend(1), synced=False) as second:
            wait_until(lambda: len(recorder.messages) == 3)
            second.publish([deletion(1)], synced=False)
            second.publish([backend(2)], synced=True)
            wait_until(lambda: recorder.syncs == 2)
            assert recorder.state == state_of(backend(2))


@pytest.mark.parametrize(
    "invalid",
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
def test_invalid_frame_breaks_the_link_and_the_state_is_kept(path, recorder_ref, recorder, invalid):
    with serving(path) as accept, subscribed(path, recorder_ref):
        first = accept()
        first.sendall(frame(backend(1), Synced(1)))
        wait_until(lambda: recorder.syncs)
        first.sendall(invalid)
        first.shutdown(socket.SHUT_WR)
        second = accept()
        second.sendall(frame(backend(2)))
        wait_until(lambda: len(recorder.state) == 2)
        second.sendall(frame(Synced(2)))
        wait_until(lambda: recorder.syncs == 2)
        assert recorder.state == state_of(backend(2))


def test_reconnects_to_a_publisher_of_invalid_frames_are_delayed(path, recorder_ref):
    with serving(path) as accept, subscribed(path, recorder_ref):
        started = time.monotonic()
        for _ in range(6):
            accept().sendall(b"\xff" * 8)
        assert time.monotonic() - started > 0.3


def test_subscription_waits_for_its_publisher(path, recorder_ref, recorder):
    with subscribed(path, recorder_ref), publishing(path, backend(1)):
        wait_until(lambda: recorder.syncs)


def test_missing_publisher_is_logged(path, recorder_ref, monkeypatch, caplog):
    monkeypatch.setattr(subscription, "_REPORTED", 2)
    with subscribed(path, recorder_ref):
        wait_until(lambda: "not connected yet" in caplog.text)


def test_subscription_without_credit_can_be_stopped(path, recorder_ref, recorder):
    with publishing(path) as publisher, subscribed(path, recorder_ref) as subscription:
        wait_until(lambda: recorder.syncs)
        recorder.taking.clear()
        for number in range(20):
            publisher.publish([backend(number)], synced=True)
            wait_until(lambda: not any(s.view.pending for s in publisher._subscribers))
        subscription.stop()
        subscription._thread.join(5)
        assert not subscription._thread.is_alive()
        recorder.taking.set()


@pytest.mark.parametrize("delay", [0, 0.001, 0.05])
def test_subscription_can_be_stopped_at_any_moment(path, recorder_ref, delay):
    with publishing(path, backend(1)):
        subscription = subscribe(path, recorder_ref)
        threading.Event().wait(delay)
        subscription.stop()
        subscription._thread.join(5)
        assert not subscription._thread.is_alive()


def test_subscription_ends_with_its_actor(path, recorder_ref):
    with publishing(path, backend(1)) as publisher, subscribed(path, recorder_ref) as subscription:
        recorder_ref.stop()
        publisher.publish([backend(2)], synced=True)
        subscription._thread.join(5)
        assert not subscription._thread.is_alive()


def test_actor_holds_no_more_frames_than_its_credit(path, recorder_ref, recorder):
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


def test_credit_is_not_renewed_by_a_reconnect(path, recorder_ref, recorder):
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


def test_lost_link_is_logged_and_the_state_is_kept(path, recorder_ref, recorder, caplog):
    caplog.set_level("INFO")
    with subscribed(path, recorder_ref):
        with publishing(path, backend(1)):
            wait_until(lambda: recorder.syncs)
        reason = "the publisher closed the connection"
        line = f"link {path.stem}: disconnected ({reason}), reconnecting; keeping the current state"
        wait_until(lambda: line in [record.getMessage() for record in caplog.records])
        assert recorder.state == state_of(backend(1))
