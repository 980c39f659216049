from queue import SimpleQueue

import pytest

from clusterf.docker.engine import EngineError
from clusterf.docker.intake import Intake
from clusterf.docker.inventory import Inventory
from clusterf.docker.session import Request, Session
from tests.clusterf.support.fake_docker import FakeDocker

RUN = ("create", "connect", "start")
KEY = b"services/web/backends/c1"


class Followed:
    """A session that is stepped by the test."""

    def __init__(self, docker):
        self.inventory = Inventory()
        self.reports = []
        self.inbox = SimpleQueue()
        self.intake = Intake("unix:///fake", self.inventory, lambda *report: self.reports.append(report))
        self.session = Session(docker.connect(), self.inbox, self.intake, 600)

    def step_until(self, condition):
        """Step until the condition holds; each step waits for an event or an answer."""
        for _ in range(20):
            if condition():
                return
            self.session.step()
        raise AssertionError("nothing comes of it")

    @property
    def completed(self):
        return len([complete for _, complete in self.reports if complete])


@pytest.fixture
def docker():
    return FakeDocker()


@pytest.fixture
def followed(docker):
    return Followed(docker)


def test_entering_lists_everything(docker, followed):
    docker.do(*RUN)
    with followed.session:
        followed.step_until(lambda: followed.completed)
    assert followed.inventory.keys.keys() == {KEY}


def test_nothing_is_reported_before_the_first_list_is_complete(docker, followed):
    docker.do(*RUN)
    with followed.session:
        followed.step_until(lambda: followed.reports)
    assert [complete for _, complete in followed.reports] == [True]


def test_past_events_are_asked_for_only_since_the_last_one(docker, followed):
    docker.do(*RUN, "kill=15")
    with followed.session:
        followed.step_until(lambda: followed.completed)
    assert followed.intake.last_event == docker.engine.now
    again = Followed(docker)
    again.intake.last_event = docker.engine.now
    with again.session:
        again.step_until(lambda: again.completed)
    assert b'"weight":0' in followed.inventory.keys[KEY]
    assert b'"weight":0' not in again.inventory.keys[KEY]


def test_requested_list_is_made(docker, followed):
    with followed.session:
        followed.step_until(lambda: followed.completed == 1)
        docker.engine.do("create")
        docker.engine.do("connect")
        docker.engine.do("start")
        followed.inbox.put(Request.LIST)
        followed.step_until(lambda: followed.completed == 2)
    assert followed.inventory.keys.keys() == {KEY}


def test_wake_up_does_nothing_but_end_the_step(docker, followed):
    with followed.session:
        followed.step_until(lambda: followed.completed)
        followed.inbox.put(Request.WAKE)
        asked = len(docker.asked)
        followed.session.step()
    assert len(docker.asked) == asked


def test_end_of_the_event_stream_ends_the_session(docker, followed):
    with followed.session:
        followed.step_until(lambda: followed.completed)
        docker.disconnect()
        with pytest.raises(EngineError, match="the stream has ended"):
            followed.session.step()


def test_failure_to_enter_leaves_no_stream_open(docker, followed):
    docker.away = "no answer"
    with pytest.raises(EngineError, match="no answer"), followed.session:
        pass
    assert docker.streams == []
