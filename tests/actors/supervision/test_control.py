import socket
from pathlib import Path

import msgspec
import pytest

from actors.base.messages import Confirm, Ping, Reload
from actors.supervision import control
from tests.actors.support.some_settings import some_settings


@pytest.fixture
def pair():
    one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with one, other:
        yield one, other


@pytest.mark.parametrize(
    "message",
    [
        control.Begin("x", some_settings()),
        Confirm(),
        Ping(),
        Reload(),
        control.Stop(),
        control.Pong(),
        control.Finished(3),
        control.Flushed(),
    ],
)
def test_message_arrives_as_it_was_sent(pair, message):
    one, other = pair
    control.send(one, message)
    assert control.receive(other) == message
    one.close()
    assert control.receive(other) is None


def test_messages_before_the_end_arrive_even_if_the_sender_left_some_unread(pair):
    one, other = pair
    control.send(one, control.Stop())  # never read
    control.send(other, control.Finished(3))
    other.close()
    assert control.receive(one) == control.Finished(3)
    assert control.receive(one) is None


def test_unknown_message_is_a_decoding_error(pair):
    one, other = pair
    one.send(b'{"type":"Nonsense"}')
    with pytest.raises(msgspec.DecodeError):
        control.receive(other)


def test_send_to_a_closed_socket_is_an_os_error(pair):
    one, other = pair
    other.close()
    with pytest.raises(OSError):
        control.send(one, control.Stop())


def child_message(pair, packet):
    one, other = pair
    one.send(packet)
    return control.receive_from_child(other)


@pytest.mark.parametrize("message", [control.Pong(), control.Finished(3), control.Flushed(), control.LinkLost("a", 1)])
def test_child_may_send_these(pair, message):
    assert child_message(pair, msgspec.json.encode(message)) == message
    pair[0].close()
    assert control.receive_from_child(pair[1]) is None


@pytest.mark.parametrize(
    "packet",
    [
        b"rubbish",
        b'{"type": "LinkLost", "link": "\xff\xfe", "number": 1}',
        b'{"type": "\xff"}',
        b"[" * 100_000,
        b'{"type": "Pong", "x": ' + b"[" * 100_000,
        b'{"type": "Pong", "x": ' + b'{"a":' * 20_000,
        b'{"type": "Finished", "status": -1}',
        b'{"type": "Finished", "status": 1e400}',
        b'{"type": "Finished", "status": 256}',
        *map(msgspec.json.encode, (control.Begin("x", some_settings()), control.Stop(), Ping(), Reload(), Confirm())),
        msgspec.json.encode(control.LinkEnd("config", "config", 1)),
    ],
)
def test_what_only_the_supervisor_sends_or_nobody_is_a_decoding_error(pair, packet):
    with pytest.raises(msgspec.DecodeError):
        child_message(pair, packet)


def test_descriptors_that_a_child_sends_are_closed(pair, tmp_path):
    one, other = pair
    with (tmp_path / "file").open("w") as file:
        before = set(Path("/proc/self/fd").iterdir())
        socket.send_fds(one, [msgspec.json.encode(control.Pong())], [file.fileno()] * 100)
        assert control.receive_from_child(other) == control.Pong()
        assert set(Path("/proc/self/fd").iterdir()) == before
