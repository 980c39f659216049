import socket
from pathlib import Path

import pytest

from actors.link.links import Links
from actors.link.publisher import Publisher
from tests.waiting import wait_until


@pytest.fixture
def links():
    return Links(lambda *_: None)


@pytest.fixture
def received():
    return []


@pytest.fixture
def connect(received):
    return lambda connection, number: received.append((connection, number))


@pytest.mark.parametrize("attach", [Links.publish, Links.subscribe])
def test_connections_are_passed_on_in_their_order_whichever_comes_first(links, received, connect, attach):
    links.deliver("config", "one", 1)
    links.deliver("health", "another", 1)
    links.deliver("config", "two", 2)
    attach(links, "config", connect)
    links.deliver("config", "three", 3)
    assert received == [("one", 1), ("two", 2), ("three", 3)]


def test_connections_after_the_end_was_detached_wait_for_the_next(links, received, connect):
    links.publish("config", connect)
    links.detach("config", None)
    links.detach("config", connect)
    links.detach("config", connect)
    links.deliver("config", "one", 1)
    assert received == []
    links.publish("config", connect)
    assert received == [("one", 1)]


def test_connection_that_did_not_arrive_is_reported(links, received, connect, caplog):
    links.subscribe("config", connect)
    links.deliver("config", None, 1)
    assert received == [(None, 1)]
    assert caplog.messages == ["link config: a connection did not arrive, probably for lack of file descriptors"]


def test_subscriber_that_asks_for_many_connections_and_closes_none_has_one(links):
    """A health process that was taken over must not have the publisher run out of descriptors and threads."""
    before = len(list(Path("/proc/self/fd").iterdir()))
    publisher = Publisher("config", links)
    publisher.start()
    theirs = []
    other, end = socket.socketpair()
    theirs.append(other)
    links.deliver("config", end, 1, "director")
    for number in range(1, 31):
        kept, end = socket.socketpair()
        theirs.append(kept)
        links.deliver("config", end, number, "health")
    del end
    wait_until(lambda: len(list(Path("/proc/self/fd").iterdir())) == before + 31 + 2)
    assert len(publisher._subscribers) == 2
    descriptors = before + 31 + 2
    publisher.stop()
    wait_until(lambda: len(list(Path("/proc/self/fd").iterdir())) == descriptors - 2)
    for one in theirs:
        one.close()
