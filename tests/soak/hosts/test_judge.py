"""The judge finds what is planted, and accepts what is explained."""

from typing import Any

import pytest

from tests.soak.history import Action, Calm, Change, Server
from tests.soak.hosts.judge import AWAY, BOUND, DELETED, OOM, RECOVERY, SLACK, Evidence, judge
from tests.soak.hosts.keys import Seen
from tests.soak.hosts.truth import ENDED, GONE, PAUSED, RUNNING, Backend, Truth
from tests.soak.hosts.world import virtual

BACKEND = Backend("0123456789abcdef", "blue", "172.30.10.2")
REAL = "172.30.10.2:8080"
TWIN = Backend("fedcba9876543210", "blue", "172.30.10.2")  # it has the same address, at another time


class Story:
    """A container that runs from second 0 on, and is in etcd and in the table from second 1 on, until second 200."""

    def __init__(self) -> None:
        self.truth = Truth()
        self.actions: list[Action] = []
        self.changes: list[Change] = []
        self.keys = [Seen(0, 0.5, {})]
        self.calms: list[Calm] = []
        self.is_(0, RUNNING)
        self.key(1, 10)
        self.table(1, 10)

    def is_(self, time: float, state: str, backend: Backend = BACKEND) -> None:
        self.truth.note_at(backend, time - 0.1, time, state)

    def key(self, time: float, weight: int | None, backend: Backend = BACKEND) -> None:
        keys = {**self.keys[-1].keys, backend.path: weight}
        self.keys.append(Seen(time - 0.05, time, {path: found for path, found in keys.items() if found is not None}))

    def table(self, time: float, weight: int | None) -> None:
        reals = {} if weight is None else {REAL: Server(weight)}
        self.changes.append(Change(time - 0.01, time, virtual("blue"), "wrr", reals))

    def fault(self, begin: float, end: float, kind: str) -> None:
        self.actions.append(Action(begin, end, "fault", kind))

    def oom(self, time: float) -> None:
        self.actions.append(Action(time, time, "container", f"blue {BACKEND.address} {BACKEND.id[:12]}", "oom"))

    def kinds(self) -> list[str]:
        ordered: Any = sorted(self.actions, key=lambda action: action.begin)
        return [v.kind for v in judge(Evidence(self.truth, ordered, self.changes, [], self.keys, self.calms, 200))]


@pytest.fixture
def story() -> Story:
    return Story()


def test_nothing_is_wrong_with_a_container_that_keeps_its_weight(story: Story) -> None:
    assert story.kinds() == []


@pytest.mark.parametrize("weight", [0, None])
def test_loss_of_weight_is_found_in_the_table(story: Story, weight: int | None) -> None:
    story.table(50, weight)
    story.table(51, 10)
    assert story.kinds() == ["lost weight"]


@pytest.mark.parametrize("weight", [0, None])
def test_loss_of_weight_is_found_in_etcd(story: Story, weight: int | None) -> None:
    story.key(50, weight)
    story.key(51, 10)
    assert story.kinds() == ["lost weight"]


def test_fault_explains_that_a_key_is_away_but_not_the_loss_in_the_table(story: Story) -> None:
    story.fault(49, 60, "etcd frozen for longer than the leases")
    story.key(60, None)
    story.key(61, 10)
    assert story.kinds() == []
    story.table(60, None)
    story.table(61, 10)
    assert story.kinds() == ["lost weight"]


def test_fault_of_an_engine_explains_nothing(story: Story) -> None:
    story.fault(49, 60, "engine frozen")
    story.key(55, 0)
    story.key(61, 10)
    assert story.kinds() == ["lost weight"]


@pytest.mark.parametrize("state", [ENDED, PAUSED, GONE])
def test_container_that_is_not_running_may_lose_its_weight_and_has_to(story: Story, state: str) -> None:
    story.is_(50, state)
    assert story.kinds() == ["has weight for too long"] * 2
    story.key(50.1, 0)
    story.table(50.2, 0)
    assert story.kinds() == []


def test_end_explains_one_loss(story: Story) -> None:
    story.is_(50, PAUSED)
    story.is_(51, RUNNING)
    for time, weight in [(50.1, 0), (51.1, 10), (51.5 + SLACK, 0), (52 + SLACK, 10)]:
        story.table(time, weight)
    assert story.kinds() == ["lost weight"]


def test_container_that_runs_gets_weight_in_time_unless_a_fault_delays_that(story: Story) -> None:
    story.is_(50, PAUSED)
    story.key(50.1, 0)
    story.table(50.2, 0)
    story.is_(60, RUNNING)
    story.key(60.1, 10)
    assert story.kinds() == ["has no weight for too long"]
    story.fault(62, 195, "director restarted")
    assert story.kinds() == []


def test_delay_by_a_fault_ends(story: Story) -> None:
    story.is_(50, PAUSED)
    story.fault(50, 60, "director restarted")
    story.key(50.1, 0)
    story.table(60 + RECOVERY + BOUND + 1, 0)
    assert story.kinds() == ["has weight for too long"]


def test_kill_for_memory_counts_for_a_moment(story: Story) -> None:
    story.oom(50)
    story.key(50.1, 0)
    story.table(50.2, 0)
    story.key(52, 10)
    story.table(52, 10)
    assert story.kinds() == []
    story.oom(100)
    story.table(101 + OOM + SLACK, 0)
    assert story.kinds() == ["lost weight", "has no weight for too long"]


def test_deletion_by_hand_explains_a_loss_for_as_long_as_the_key_may_be_away(story: Story) -> None:
    story.actions.append(Action(50, 50, DELETED, BACKEND.path))
    story.key(50.1, None)
    story.table(50.2, None)
    story.key(50.5, 10)
    story.table(50.6, 10)
    assert story.kinds() == []
    story.table(51 + AWAY + SLACK, None)
    story.table(52 + AWAY + SLACK, 10)
    assert story.kinds() == ["lost weight"]


def test_address_of_a_container_that_is_gone_may_be_that_of_another_one(story: Story) -> None:
    story.is_(50, GONE)
    story.key(50.1, None)
    story.table(50.1, None)
    story.is_(80, RUNNING, TWIN)
    story.key(80.5, 10, TWIN)
    story.table(80.5, 10)
    assert story.kinds() == []
    story.table(90, None)
    assert story.kinds() == ["lost weight", "has no weight for too long"]


def test_what_a_calm_shows_is_a_violation(story: Story) -> None:
    story.calms = [Calm(50, 60, "exact", "keys: …"), Calm(60, 66, "silent")]
    assert story.kinds() == ["not exact"]
