import logging
import socket

import pytest

from actors.node import Link
from actors.supervision.control import LinkEnd, LinkLost
from actors.supervision.link_maker import LinkMaker

PATIENCE = 30


class FakeChild:
    def __init__(self, name):
        self.name = name
        self.listens = True
        self.level = logging.ERROR
        self.kills = 0
        self.ends = []

    def __str__(self):
        return f"{self.name} (pid 1)"

    def send(self, message, end):
        self.ends.append((message, end))

    def kill(self):
        self.kills += 1


class Node:
    """The links of a node with one health process."""

    def __init__(self):
        self.children = {name: FakeChild(name) for name in ("config", "health", "director")}
        links = [Link("config", "config", "health"), Link("config", "config", "director")]
        self.maker = LinkMaker([*links, Link("health", "health", "director")], self.children, PATIENCE)

    def __getattr__(self, name):
        return self.children[name]

    def numbers(self, name):
        """Return the number of each connection that a process got, by its link and the other process."""
        return [tuple(message) for message, _ in map(_fields, self.children[name].ends)]

    def lose(self, number, now):
        """Let the director lose its connection to the configuration."""
        self.maker.lost(self.director, LinkLost("config", number), now)
        self.maker.tend(now)

    def close(self):
        for child in self.children.values():
            for _, end in child.ends:
                end.close()


def _fields(sent):
    message, end = sent
    assert isinstance(message, LinkEnd)
    return (message.link, message.peer, message.number), end


@pytest.fixture
def node():
    node = Node()
    yield node
    node.close()


def test_every_link_is_connected_once_both_ends_run(node):
    node.director.listens = False
    node.maker.tend(0)
    assert node.numbers("config") == [("config", "health", 1)]
    node.director.listens = True
    for _ in range(2):
        node.maker.tend(1)
    assert node.numbers("config") == [("config", "health", 1), ("config", "director", 1)]
    assert node.numbers("health") == [("config", "config", 1), ("health", "director", 1)]
    assert node.numbers("director") == [("config", "config", 1), ("health", "health", 1)]
    (_, one), (_, other) = node.config.ends[1], node.director.ends[0]
    one.sendall(b"x")
    assert other.recv(1) == b"x"


def test_links_of_a_restarted_process_are_connected_again(node):
    node.maker.tend(0)
    node.maker.started(node.health)
    node.maker.tend(1)
    assert node.numbers("health")[2:] == [("config", "config", 2), ("health", "director", 2)]
    assert node.numbers("director")[2:] == [("health", "health", 2)]
    assert node.numbers("config")[2:] == [("config", "health", 2)]


def test_lost_connection_is_replaced_once(node):
    node.maker.tend(0)
    for _ in range(3):
        node.lose(1, 5)
    assert node.numbers("director")[2:] == [("config", "config", 2)]
    assert node.numbers("config")[2:] == [("config", "director", 2)]
    assert len(node.health.ends) == 2


def test_loss_while_the_publisher_is_away_is_left_to_its_restart(node):
    node.maker.tend(0)
    node.config.listens = False
    node.lose(1, 5)
    node.lose(1, 5 + 10 * PATIENCE)
    node.config.listens = True
    node.maker.started(node.config)
    node.maker.tend(1000)
    assert node.numbers("director")[2:] == [("config", "config", 2)]
    assert not node.director.kills


def test_link_that_does_not_last_is_a_failure_of_both_ends(node, caplog):
    node.maker.tend(0)
    number = 0
    for now in range(0, PATIENCE + 1, 2):
        number += 1
        node.lose(number, now)
    assert not node.director.kills
    node.lose(number + 1, PATIENCE + 1)
    assert (node.config.kills, node.director.kills, node.health.kills) == (1, 1, 0)
    assert caplog.messages == ["link config: down for 31 seconds, killing config (pid 1) and director (pid 1)"]
    node.maker.tend(PATIENCE + 2)  # the dead have not been seen yet
    assert node.config.kills == 1


def test_losses_of_connections_that_lasted_are_none(node):
    node.maker.tend(0)
    for number in range(1, 20):
        node.lose(number, number * (PATIENCE + 1))
    assert not node.director.kills
    assert len(node.director.ends) == 2 + 19


def test_link_that_cannot_be_made_is_retried_then_a_failure(node, caplog, monkeypatch):
    def refuse(*_):
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(socket, "socketpair", refuse)
    for now in range(PATIENCE + 1):
        node.maker.tend(now)
    assert caplog.messages == [
        f"link {name}: cannot be made: [Errno 24] Too many open files, retrying"
        for name in ("config", "config", "health")
    ]
    assert not node.director.kills
    monkeypatch.undo()
    node.maker.tend(PATIENCE)
    assert len(node.director.ends) == 2
    node.maker.started(node.director)
    monkeypatch.setattr(socket, "socketpair", refuse)
    node.maker.tend(100)
    node.maker.tend(100 + PATIENCE + 1)
    assert (node.director.kills, node.config.kills, node.health.kills) == (1, 1, 1)


@pytest.mark.parametrize("end", ["health", "director"])
def test_link_of_a_health_process_that_does_not_last_is_a_failure_of_that(node, caplog, end):
    node.maker.tend(0)
    link = {"health": "config", "director": "health"}[end]
    for number, now in enumerate(range(0, PATIENCE + 3, 2), 1):
        node.maker.lost(node.children[end], LinkLost(link, number), now)
        node.maker.tend(now)
    assert (node.config.kills, node.director.kills, node.health.kills) == (0, 0, 1)
    assert caplog.messages == [f"link {link}: down for 32 seconds, killing health (pid 1)"]
