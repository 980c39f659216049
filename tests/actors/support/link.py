"""Publishers and subscriptions for the time of a `with`, and the messages that they exchange."""

import contextlib
import queue
import struct

from actors.link import publisher
from actors.link.messages import ValueIs, deletion_of
from actors.link.publisher import Publisher
from clusterf.config.model import Backend, BackendKey
from tests.actors.support.recorder import subscribe

__all__ = ["backend", "deletion", "frame", "publishing", "serving", "state_of", "subscribed"]


def backend(number, weight=1):
    return ValueIs(BackendKey(b"web", b"%d" % number), Backend(weight=weight))


def deletion(number):
    return deletion_of(BackendKey(b"web", b"%d" % number))


def state_of(*messages):
    return {message.key: message for message in messages}


@contextlib.contextmanager
def publishing(links, *messages, synced=True):
    publisher = Publisher("link", links)
    publisher.publish(messages, synced=synced)
    publisher.start()
    try:
        yield publisher
    finally:
        publisher.stop()


@contextlib.contextmanager
def subscribed(links, ref):
    subscription = subscribe("link", links, ref)
    try:
        yield subscription
    finally:
        subscription.stop()


@contextlib.contextmanager
def serving(links):
    """Stand for a publisher; yield a function that returns the next connection of a subscriber."""
    with contextlib.ExitStack() as stack:
        connections = queue.SimpleQueue()

        def connect(connection, _):
            connections.put(stack.enter_context(connection))

        links.publish("link", connect)
        yield lambda: connections.get(timeout=10)
        links.detach("link", connect)


def frame(*messages):
    body = publisher._encoder.encode(messages)
    return struct.pack(">I", len(body)) + body
