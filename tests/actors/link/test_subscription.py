import socket
import struct
import threading
import time
from ipaddress import IPv4Address

import pytest

from actors.link import received
from actors.link.messages import ProblemsAre, ProblemsKey, Synced, ValueIs, VerdictIs, VerdictWireMessage
from actors.link.received import CREDIT
from actors.link.subscription import Subscription
from clusterf.config.model import Frontend, FrontendKey
from clusterf.config.problems import Problem
from clusterf.health.verdict import VerdictKey
from clusterf.lib.addresses import Endpoint
from tests.actors.support.link import backend, deletion, frame, publishing, serving, state_of, subscribed
from tests.actors.support.recorder import subscribe
from tests.waiting import wait_until


def test_whole_state_is_received_and_then_synced(links, recorder_ref, recorder):
    problem = ProblemsAre(ProblemsKey("file:///x", b"a\xff"), (Problem("file:///x", b"a\xff", "f", "bad", fatal=True),))
    with (
        publishing(links, backend(1), ValueIs(FrontendKey(b"web"), Frontend()), problem),
        subscribed(links, recorder_ref),
    ):
        wait_until(lambda: recorder.syncs)
        assert recorder.state == state_of(backend(1), ValueIs(FrontendKey(b"web"), Frontend()), problem)
        assert isinstance(recorder.messages[-1], Synced)


def test_synced_is_not_received_before_the_publisher_is_synced(links, recorder_ref, recorder):
    with publishing(links, backend(1), synced=False) as publisher, subscribed(links, recorder_ref):
        wait_until(lambda: recorder.state)
        assert not recorder.syncs
        publisher.publish([backend(2)], synced=True)
        wait_until(lambda: recorder.syncs)
        assert len(recorder.state) == 2


def test_changes_and_deletions_are_received(links, recorder_ref, recorder):
    with publishing(links, backend(1), backend(2)) as publisher, subscribed(links, recorder_ref):
        wait_until(lambda: recorder.syncs)
        publisher.publish([backend(1, 7), deletion(2), backend(3)], synced=False)
        wait_until(lambda: recorder.state == state_of(backend(1, 7), backend(3)))
        assert recorder.syncs == 1


def test_replaced_publisher_is_found_and_sends_its_state_again(links, recorder_ref, recorder, tmp_path):
    with subscribed(links, recorder_ref):
        with publishing(links, backend(1), backend(2)):
            wait_until(lambda: recorder.syncs == 1)
        with publishing(links, backend(1), backend(3), synced=False) as second:
            wait_until(lambda: len(recorder.state) == 3)
            # what the second one has not sent may still come
            assert recorder.state == state_of(backend(1), backend(2), backend(3))
            second.publish([], synced=True)
            wait_until(lambda: recorder.syncs == 2)
            assert recorder.state == state_of(backend(1), backend(3))


def test_keys_of_a_publisher_that_was_never_synced_are_deleted_after_a_reconnect(links, recorder_ref, recorder):
    with subscribed(links, recorder_ref):
        with publishing(links, backend(1), synced=False):
            wait_until(lambda: recorder.state)
        with publishing(links, backend(2)):
            wait_until(lambda: recorder.syncs)
            assert recorder.state == state_of(backend(2))


def test_key_deleted_between_a_reconnect_and_synced_is_deleted(links, recorder_ref, recorder):
    with subscribed(links, recorder_ref):
        with publishing(links, backend(1)):
            wait_until(lambda: recorder.syncs)
        with publishing(links, backend(1), synced=False) as second:
            wait_until(lambda: len(recorder.messages) == 3)
            second.publish([deletion(1)], synced=False)
            second.publish([backend(2)], synced=True)
            wait_until(lambda: recorder.syncs == 2)
            assert recorder.state == state_of(backend(2))


def sent(body):
    return struct.pack(">I", len(body)) + body


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
        sent(b"\x91\x93\x02\x92\xa2\xff\xfe\xc4\x01a\x90"),  # a text that is not UTF-8
        sent(b"\x91" * 100_000),
        sent(b"\x91\x93\x01" + b"\x91" * 100_000),
        sent(b"\xdd\x00\x0f\x42\x40" + b"\x91\x05" * 1_000_000),  # more messages than a publisher sends
    ],
)
def test_invalid_frame_breaks_the_link_and_the_state_is_kept(links, recorder_ref, recorder, invalid):
    with serving(links) as accept, subscribed(links, recorder_ref):
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


def test_message_that_the_link_does_not_carry_breaks_it(links, recorder_ref, recorder):
    """A health process that was taken over must not publish configuration, nor end the director by trying."""
    verdict = VerdictIs(VerdictKey(b"web", b"1", Endpoint(IPv4Address("10.0.0.1"), 80)), None)
    subscription = Subscription("link", links, recorder_ref.tell, carries=VerdictWireMessage)
    recorder_ref._actor_weakref().subscriptions["link"] = subscription
    with serving(links) as accept:
        subscription.start()
        try:
            accept().sendall(frame(verdict, backend(1)))
            second = accept()
            second.sendall(frame(Synced(2)))
            wait_until(lambda: recorder.syncs)
            assert recorder.messages == [Synced(2)]
        finally:
            subscription.stop()


def test_frame_that_is_longer_than_the_link_has_them_breaks_it(links, recorder_ref, recorder):
    subscription = Subscription("link", links, recorder_ref.tell, longest=1000)
    recorder_ref._actor_weakref().subscriptions["link"] = subscription
    with serving(links) as accept:
        subscription.start()
        try:
            accept().sendall(struct.pack(">I", 1001))
            accept().sendall(frame(Synced(2)))
            wait_until(lambda: recorder.syncs)
        finally:
            subscription.stop()


def test_more_keys_than_can_be_break_the_link(links, recorder_ref, recorder, monkeypatch):
    monkeypatch.setattr(received, "MOST_KEYS", 2)
    with serving(links) as accept, subscribed(links, recorder_ref):
        accept().sendall(frame(*(backend(number) for number in range(3))))
        accept()
        assert recorder.state == {}


def test_reconnects_to_a_publisher_of_invalid_frames_are_delayed(links, recorder_ref):
    with serving(links) as accept, subscribed(links, recorder_ref):
        started = time.monotonic()
        for _ in range(6):
            accept().sendall(b"\xff" * 8)
        assert time.monotonic() - started > 0.3


def test_subscription_waits_for_its_publisher(links, recorder_ref, recorder):
    with subscribed(links, recorder_ref), publishing(links, backend(1)):
        wait_until(lambda: recorder.syncs)


def test_newest_connection_replaces_the_others(links, recorder_ref, recorder):
    with subscribed(links, recorder_ref) as subscription:
        pairs = [socket.socketpair() for _ in range(3)]
        for number, (_, theirs) in enumerate(pairs, 1):
            subscription._connect(theirs, number)
        *replaced, newest = [ours for ours, _ in pairs]
        for ours in replaced:
            ours.settimeout(10)
            assert ours.recv(1) == b""
            ours.close()
        with newest:
            newest.sendall(frame(backend(1), Synced(1)))
            wait_until(lambda: recorder.syncs)


def test_connection_that_did_not_arrive_is_asked_for_again(links, recorder_ref, recorder):
    with publishing(links, backend(1)), subscribed(links, recorder_ref) as subscription:
        wait_until(lambda: recorder.syncs)
        subscription._connect(None, links.numbers)
        wait_until(lambda: recorder.syncs == 2)


def test_stopped_subscription_closes_a_connection_that_comes_late(links, recorder_ref):
    with subscribed(links, recorder_ref) as subscription:
        pass
    ours, theirs = socket.socketpair()
    subscription._connect(theirs, 1)
    with ours:
        ours.settimeout(10)
        assert ours.recv(1) == b""


def test_subscription_without_credit_can_be_stopped(links, recorder_ref, recorder):
    with publishing(links) as publisher, subscribed(links, recorder_ref) as subscription:
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
def test_subscription_can_be_stopped_at_any_moment(links, recorder_ref, delay):
    with publishing(links, backend(1)):
        subscription = subscribe("link", links, recorder_ref)
        threading.Event().wait(delay)
        subscription.stop()
        subscription._thread.join(5)
        assert not subscription._thread.is_alive()


def test_subscription_ends_with_its_actor(links, recorder_ref):
    with publishing(links, backend(1)) as publisher, subscribed(links, recorder_ref) as subscription:
        recorder_ref.stop()
        publisher.publish([backend(2)], synced=True)
        subscription._thread.join(5)
        assert not subscription._thread.is_alive()


def test_actor_holds_no_more_frames_than_its_credit(links, recorder_ref, recorder):
    recorder.acknowledging = False
    with publishing(links, backend(0)) as publisher, subscribed(links, recorder_ref) as subscription:
        for number in range(1, 2 * CREDIT):
            wait_until(lambda n=number: recorder.frames == min(n, CREDIT))
            publisher.publish([backend(number)], synced=True)
        for count in range(CREDIT + 1, CREDIT + 3):
            publisher.publish([backend(count + 100)], synced=True)
            subscription.acknowledge()
            wait_until(lambda count=count: recorder.frames == count)
            recorder_ref.ask("anything more?", timeout=10)
            assert recorder.frames == count


def test_credit_is_not_renewed_by_a_reconnect(links, recorder_ref, recorder):
    recorder.acknowledging = False
    with subscribed(links, recorder_ref) as subscription:
        for turn in range(CREDIT + 2):
            with publishing(links, backend(turn)):
                wait_until(lambda turn=turn: recorder.frames == min(turn + 1, CREDIT))
        assert recorder.frames == CREDIT
        recorder.acknowledging = True
        for _ in range(CREDIT):
            subscription.acknowledge()
        with publishing(links, backend(99)):
            wait_until(lambda: recorder.state == state_of(backend(99)))


def test_lost_link_is_logged_and_the_state_is_kept(links, recorder_ref, recorder, caplog):
    caplog.set_level("INFO")
    with subscribed(links, recorder_ref):
        with publishing(links, backend(1)):
            wait_until(lambda: recorder.syncs)
        reason = "the publisher closed the connection"
        line = f"link link: disconnected ({reason}), reconnecting; keeping the current state"
        wait_until(lambda: line in [record.getMessage() for record in caplog.records])
        assert recorder.state == state_of(backend(1))


def test_link_that_is_lost_again_and_again_is_not_logged_each_time(links, recorder_ref, recorder, caplog):
    caplog.set_level("INFO")
    with subscribed(links, recorder_ref):
        for turn in range(1, 16):
            with publishing(links, backend(1)):
                wait_until(lambda turn=turn: recorder.syncs == turn)
    assert 5 <= sum("reconnecting" in line for line in caplog.messages) <= 10
