import socket

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
