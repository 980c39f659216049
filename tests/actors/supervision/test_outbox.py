import socket

import pytest

from actors.base.messages import Ping, Reload
from actors.supervision import control
from actors.supervision.outbox import Outbox


@pytest.fixture
def ends():
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        yield ours, theirs


def received(end):
    end.setblocking(False)
    messages = []
    while True:
        try:
            messages.append(control.receive(end))
        except BlockingIOError:
            return messages


def test_messages_are_sent_in_their_order(ends):
    outbox = Outbox(ends[0])
    for message in (Reload(), Ping(), control.Stop()):
        outbox.put(message)
    outbox.flush()
    assert received(ends[1]) == [Reload(), Ping(), control.Stop()]


def test_message_in_place_of_one_that_waits_is_sent_once(ends):
    outbox = Outbox(ends[0])
    outbox.put(control.Finished(1))
    outbox.put(control.Finished(2))
    outbox.flush()
    outbox.flush()
    assert received(ends[1]) == [control.Finished(2)]


def test_receiver_that_does_not_read_holds_nobody_up_and_gets_the_rest_later(ends):
    outbox = Outbox(ends[0])
    for _ in range(10_000):
        outbox.put(Ping())
        outbox.flush()
    outbox.put(control.Stop())
    outbox.flush()
    messages = received(ends[1])
    assert messages == [Ping()] * len(messages)
    assert len(messages) < 10_000
    outbox.flush()
    assert received(ends[1]) == [Ping(), control.Stop()]


def test_end_of_a_link_is_sent_and_closed(ends):
    ours, theirs = socket.socketpair()
    outbox = Outbox(ends[0])
    outbox.put(control.LinkEnd("config", "director", 1), theirs)
    outbox.flush()
    assert theirs.fileno() == -1
    message, end = control.receive_end(ends[1])
    with ours, end:
        assert message == control.LinkEnd("config", "director", 1)
        ours.sendall(b"x")
        assert end.recv(1) == b"x"


def test_newest_end_of_each_link_replaces_the_others(ends):
    outbox = Outbox(ends[0])
    pairs = [socket.socketpair() for _ in range(4)]
    for number, (_, theirs) in enumerate(pairs):
        outbox.put(control.LinkEnd("config", "health" if number % 2 else "director", number), theirs)
    outbox.put(control.Stop())
    assert [theirs.fileno() == -1 for _, theirs in pairs] == [True, True, False, False]
    outbox.close()
    for ours, _ in pairs:
        with ours:
            assert ours.recv(1) == b""
    outbox.flush()
    assert received(ends[1]) == []


def test_receiver_that_is_gone_is_an_error(ends):
    ends[1].close()
    outbox = Outbox(ends[0])
    outbox.put(Ping())
    with pytest.raises(BrokenPipeError):
        outbox.flush()
