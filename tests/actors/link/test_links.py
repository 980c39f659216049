import pytest

from actors.link.links import Links


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
