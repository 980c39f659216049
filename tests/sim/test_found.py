"""What the simulation has found, as the shortest script that showed it."""

import pytest

from tests.sim.main import story_of
from tests.sim.run import run
from tests.sim.script import Event, Script


def _restored_within_a_hold(paused: int) -> Script:
    events = Event(21.39, "wipe", 0, 31), Event(18.613, "pause", paused, 29), Event(0.002, "add_service", 0, 57)
    return Script(186, events, nodes=2, services=4, check=1, removal_hold=20.0)


FOUND = {
    # names that only the older state of an etcd has were kept for ever when a process that began in doubt was confirmed
    "an older etcd, seen first by a new process, then confirmed": Script(
        56,
        (
            Event(2.75, "rename_backends", 0, 54),
            Event(24.048, "restart_node", 4, 58),
            Event(0.085, "remove_backend", 1, 27),
            Event(5.978, "replace_etcd", 3, 62),
            Event(35.622, "refuse_steps", 3, 42),
        ),
        nodes=1,
        services=7,
    ),
    # what was put back in time was removed by a director that was stopped then, and went on after the end of the hold
    "a service restored within a hold, while the director was stopped": _restored_within_a_hold(paused=10),
    # the same, while the config process was stopped, of which the director does not see that it is
    "a service restored within a hold, while the config process was stopped": _restored_within_a_hold(paused=8),
    # what a director had of a tree that was away, while the records of its values were lost, its successor did not keep
    "a tree away, with its records lost, and later another director": Script(
        0,
        (
            Event(10.0, "take_tree_away", 0, 4),
            Event(0.5, "kill", 0, 0),
            Event(0.0, "lose_disk", 0, 0),
            Event(5.0, "kill", 0, 2),
        ),
        source="tree",
        nodes=1,
        services=2,
    ),
}


@pytest.mark.parametrize("script", FOUND.values(), ids=FOUND)
def test_what_was_found_is_not_found_again(script):
    result = run(script)
    assert not result.violations, story_of(result)
