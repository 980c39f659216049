import pytest

from actors.supervision.child_process import ChildProcess
from actors.supervision.crashes import Crashes
from actors.supervision.policy import Policy

POLICY = Policy(intensity=3, period=60, first_delay=1, longest_delay=4)
LOOP = "health: killed by SIGKILL: crash loop: 4 exits, never 60 seconds between; restarting it for ever, "
DESCRIPTION = "health: killed by SIGKILL"


class Child(ChildProcess):
    """A child that is started, and ends, when the test says so."""

    def __init__(self, name="health", *, in_order=True, policy=POLICY):
        super().__init__(name, policy)
        self.was_in_order = in_order
        self.delays = []

    def live(self, now):
        self._restarts.started(now)
        self._replied = self.was_in_order

    def restart_later(self, now, least=0.0):
        self.delays.append(super().restart_later(now, least))
        return self.delays[-1]


def crash(crashes, child, times, now=0.0):
    """Let the child live for a second so many times; return whether the node gives up after each."""
    given_up = []
    for number in range(times):
        child.live(now + number)
        given_up.append(crashes.ended(child, DESCRIPTION, now + number + 1))
    return given_up


@pytest.fixture(autouse=True)
def _logged(caplog):
    caplog.set_level("INFO")


def test_node_gives_up_on_a_child_that_it_cannot_do_without(caplog):
    child = Child("director")
    assert crash(Crashes(POLICY, {"health"}), child, 4) == [False, False, False, True]
    assert caplog.messages[-2:] == [DESCRIPTION, "giving up: 4 exits of processes within 60 seconds"]
    assert len(child.delays) == 3


def test_node_gives_up_on_a_dispensable_child_that_never_was_in_order():
    assert crash(Crashes(POLICY, {"health"}), Child(in_order=False), 4) == [False, False, False, True]


def test_dispensable_child_that_was_in_order_once_is_restarted_for_ever_with_few_lines(caplog):
    child = Child()
    assert not any(crash(Crashes(POLICY, {"health"}), child, 100))
    assert min(child.delays[3:]) > 3
    assert len(caplog.messages) == 4
    assert caplog.messages[0].startswith(f"{DESCRIPTION}, restarting in ")
    assert caplog.messages[3] == f"{LOOP}no longer logging each"


def test_delay_in_a_crash_loop_is_the_longest_of_the_node_though_a_child_has_shorter_ones():
    child = Child(policy=POLICY.within(10))
    crash(Crashes(POLICY, {"health"}), child, 9)
    assert max(child.delays[:3]) < 2
    assert min(child.delays[3:]) >= 4


def test_crash_loop_is_one_however_slowly_it_goes(caplog):
    crashes, child = Crashes(POLICY, {"health"}), Child()
    for number in range(10):
        child.live(number * 64.0)
        crashes.tend(child, number * 64.0 + 60)
        crashes.ended(child, DESCRIPTION, number * 64.0 + 60)
    assert len(caplog.messages) == 4
    assert caplog.messages[3].startswith(LOOP)


def test_end_of_a_crash_loop_is_logged_and_a_later_one_is_another(caplog):
    crashes, child = Crashes(POLICY, {"health"}), Child()
    crash(crashes, child, 9)
    caplog.clear()
    child.live(10)
    crashes.tend(child, 70)
    assert caplog.messages == []
    crashes.tend(child, 70.1)
    crashes.tend(child, 71)
    assert caplog.messages == ["health: has run for 60 seconds, the crash loop is over"]
    crashes.ended(child, DESCRIPTION, 80)
    crash(crashes, child, 9, now=100)
    assert len(caplog.messages) == 5
    assert child.delays[9] < 2
    assert caplog.messages[4].startswith(LOOP)


def test_ends_of_a_dispensable_child_do_not_count_against_others():
    crashes = Crashes(POLICY, {"health"})
    crash(crashes, Child(), 20)
    assert crash(crashes, Child("director"), 3) == [False, False, False]
