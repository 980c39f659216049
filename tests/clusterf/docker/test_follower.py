import json
import threading

import msgspec
import pytest

from clusterf.docker import session
from clusterf.docker.follower import EngineFollower
from clusterf.docker.inventory import Inventory
from tests.clusterf.support.fake_docker import FakeDocker
from tests.clusterf.support.fake_engine import event
from tests.waiting import wait_until

RUN = ("create", "connect", "start")


def key(one="c1"):
    return f"services/web/backends/{one}".encode()


class Follower:
    """A follower in a thread of its own, and what it reports."""

    def __init__(self, docker, interval):
        self.inventory = Inventory()
        self.follower = EngineFollower("unix:///fake", docker.connect, self.inventory, interval, self.on_changes)
        self.thread = threading.Thread(target=self.follower.run)
        self.reports = []
        self.keys = {}

    def on_changes(self, changes, complete):
        self.reports.append((changes, complete))
        self.keys = {path: value for path, value in (self.keys | changes.keys).items() if value is not None}

    @property
    def complete(self):
        """Whether a complete list was reported."""
        return any(complete for _, complete in list(self.reports))

    @property
    def weights(self):
        """The weight of each backend, by key."""
        return {path: json.loads(value).get("weight", 10) for path, value in self.keys.items()}

    def wait_for(self, **weights):
        wait_until(lambda: self.weights == {key(one): weight for one, weight in weights.items()})


@pytest.fixture
def docker():
    return FakeDocker()


@pytest.fixture
def follow(docker):
    """Start a follower of the engine."""
    followers = []

    def follow(interval=600):
        followers.append(Follower(docker, interval))
        followers[-1].thread.start()
        return followers[-1]

    yield follow
    for each in followers:
        each.follower.stop()
        each.thread.join(10)
        assert not each.thread.is_alive()


def test_signalled_container_drains_without_an_inspection(docker, follow):
    docker.do(*RUN)
    follower = follow()
    follower.wait_for(c1=10)
    docker.held["c1"] = threading.Event()
    docker.asked.clear()
    docker.do("kill=15")
    follower.wait_for(c1=0)
    assert "c1" not in docker.asked


def test_slow_inspection_delays_no_other_container(docker, follow):
    for one in ("c1", "c2"):
        docker.do(*RUN, one=one)
    follower = follow()
    follower.wait_for(c1=10, c2=10)
    docker.held["c1"] = held = threading.Event()
    docker.asked.clear()
    follower.follower.relist()
    wait_until(lambda: "c1" in docker.asked)
    docker.do("kill=15", one="c2")
    docker.do(*RUN, one="c3")
    follower.wait_for(c1=10, c2=0, c3=10)
    held.set()
    docker.do("destroy", one="c2")
    follower.wait_for(c1=10, c3=10)


def test_container_that_is_started_during_a_list_is_kept(docker, follow):
    docker.do(*RUN)
    docker.held["c1"] = held = threading.Event()
    follower = follow()
    wait_until(lambda: "c1" in docker.asked)
    docker.do(*RUN, one="c2")
    wait_until(lambda: "c2" in docker.asked)
    assert follower.reports == []
    held.set()
    follower.wait_for(c1=10, c2=10)
    assert all(value for changes, _ in follower.reports for value in changes.keys.values())


def test_inspection_from_before_a_start_is_ignored_after_it(docker, follow):
    docker.do(*RUN)
    follower = follow()
    follower.wait_for(c1=10)
    docker.held["c1"] = held = threading.Event()
    docker.asked.clear()
    docker.do("die")
    wait_until(lambda: docker.asked == ["c1"])  # the answer shows a container that has ended
    docker.do("connect", "start")
    follower.wait_for(c1=10)
    held.set()
    for one in ("c2", "c3", "c4"):
        docker.do(*RUN, one=one)
        wait_until(lambda one=one: key(one) in follower.weights)
    assert follower.weights[key()] == 10


def test_container_that_the_engine_does_not_know_is_removed(docker, follow):
    docker.do(*RUN)
    follower = follow()
    follower.wait_for(c1=10)
    docker.engine.do("destroy")  # without an event
    docker.send(msgspec.json.encode(event("container", "pause", "c1")))
    follower.wait_for()


def test_lost_connection_is_restored_and_only_removed_containers_go(docker, follow, caplog):
    for one in ("c1", "c2", "c3"):
        docker.do(*RUN, one=one)
    follower = follow()
    follower.wait_for(c1=10, c2=10, c3=10)
    reports = len(follower.reports)
    docker.away = "no such socket"
    docker.disconnect()
    line = "docker: unix:///fake: unavailable (the stream has ended), reconnecting; keeping the published keys"
    wait_until(lambda: line in caplog.text)
    docker.do("kill=15", one="c2")  # it goes on for a while: only the event shows the signal
    docker.do("kill=9", "die", "destroy", one="c3")
    docker.do(*RUN, one="c4")
    wait_until(lambda connects=docker.connects: docker.connects > connects + 1)
    assert len(follower.reports) == reports
    docker.away = ""
    follower.wait_for(c1=10, c2=0, c4=10)
    assert not any(key("c1") in changes.keys for changes, _ in follower.reports[reports:])
    assert caplog.text.count("keeping the published keys") == 1


def test_silent_engine_is_pinged_and_its_silence_ends_the_connection(docker, follow, caplog, monkeypatch):
    monkeypatch.setattr(session, "PING", 0.02)
    docker.do(*RUN)
    follower = follow()
    follower.wait_for(c1=10)
    docker.asked.clear()
    wait_until(lambda: docker.asked.count("clock") > 2)
    docker.away = "no answer"
    wait_until(lambda: "unavailable (no answer)" in caplog.text)
    docker.away = ""
    docker.do("pause")
    follower.wait_for(c1=0)


def test_everything_is_listed_again_at_the_interval(docker, follow):
    docker.do(*RUN)
    follower = follow(interval=0.05)
    follower.wait_for(c1=10)
    docker.engine.do("pause")  # without an event
    follower.wait_for(c1=0)
    docker.engine.do("destroy")
    follower.wait_for()


def test_stop_from_before_the_first_connection_is_known_from_past_events(docker, follow):
    docker.do(*RUN, "kill=15")
    docker.do(*RUN, "kill=15", "die", "connect", "start", one="c2")
    follower = follow()
    wait_until(lambda: follower.complete)
    assert follower.weights == {key("c1"): 0, key("c2"): 10}


def test_list_is_incomplete_while_a_container_is_unreadable(docker, follow, caplog, monkeypatch):
    monkeypatch.setattr(session, "RETRY", 0.02)
    docker.do(*RUN)
    docker.do(*RUN, one="c2")
    docker.refused["c1"] = "timed out after 5 seconds"
    follower = follow()
    follower.wait_for(c2=10)
    wait_until(lambda: docker.asked.count("containers") > 3)
    assert not follower.complete
    line = "docker: c1: unreadable: timed out after 5 seconds (keeping its last known state)"
    assert caplog.text.count(line) == 1
    docker.refused.clear()
    wait_until(lambda: follower.complete)
    assert follower.weights == {key("c1"): 10, key("c2"): 10}


def test_invalid_events_and_answers_affect_no_other_container(docker, follow, caplog):
    for one in ("c1", "c2"):
        docker.do(*RUN, one=one)
    follower = follow()
    follower.wait_for(c1=10, c2=10)
    docker.invalid["c1"] = {"Id": 7}
    for line in (b"{", b"[]", b'"x"', b'{"Type": 1}', b"\xff"):
        docker.send(line)
    follower.follower.relist()
    docker.do("pause", one="c2")
    follower.wait_for(c1=10, c2=0)
    wait_until(lambda: "docker: c1: unreadable: unexpected JSON" in caplog.text)
    assert caplog.text.count("docker: unix:///fake: invalid event: ") == 5


@pytest.mark.parametrize("answer", [[{"Id": 1}], [1], [{"Id": "c1", "Labels": []}]])
def test_invalid_list_removes_nothing(docker, follow, caplog, monkeypatch, answer):
    docker.do(*RUN)
    follower = follow()
    follower.wait_for(c1=10)
    monkeypatch.setattr("tests.clusterf.support.fake_docker.Connection.containers", lambda _: answer)
    follower.follower.relist()
    wait_until(lambda: "unavailable (unexpected JSON" in caplog.text)
    assert follower.weights == {key(): 10}
    assert follower.thread.is_alive()


def test_containers_without_labels_are_never_inspected(docker, follow):
    docker.do("create=no", "connect", "start", one="plain")
    docker.do(*RUN)
    follower = follow()
    follower.wait_for(c1=10)
    docker.do("kill=15", "die", one="plain")
    docker.do("pause")
    follower.wait_for(c1=0)
    assert "plain" not in docker.asked


def test_relist_without_a_connection_is_done_by_the_next_one(docker, follow):
    docker.away = "no such socket"
    docker.do(*RUN)
    follower = follow()
    wait_until(lambda: docker.connects)
    follower.follower.relist()
    docker.away = ""
    wait_until(lambda: follower.complete)
    assert follower.weights == {key(): 10}


def test_stop_ends_a_follower_without_a_connection(docker, follow):
    docker.away = "no such socket"
    follower = follow()
    wait_until(lambda: docker.connects)
    follower.follower.stop()
    follower.thread.join(10)
    assert not follower.thread.is_alive()
