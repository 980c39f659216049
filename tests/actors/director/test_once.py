import pytest

from actors.director.once import Once
from clusterf.config.problems import Problem, ProblemsOf

FATAL = Problem("file:///etc/clusterf", b"services/web/frontend", "tcp", "not a port", fatal=True)
HARMLESS = Problem("file:///etc/clusterf", b"services/web/frontend", "colour", "unknown field", fatal=False)


@pytest.fixture
def finished():
    return []


@pytest.fixture
def once(finished):
    return Once(finished.append, 60.0)


@pytest.mark.parametrize(
    ("problems", "failures", "complete", "status"),
    [
        ([()], 0, True, 0),
        ([(HARMLESS,)], 0, True, 0),
        ([(FATAL, HARMLESS)], 0, True, 3),
        ([(FATAL,), ()], 0, True, 0),
        ([()], 2, True, 1),
        ([(FATAL,)], 2, True, 1),
        ([(FATAL,)], 0, False, 1),
    ],
)
def test_exit_status_says_how_the_configuration_was_applied(once, finished, problems, failures, complete, status):
    for found in problems:
        once.note(ProblemsOf("web", found))
    once.applied(failures, complete=complete)
    assert finished == [status]


def test_failed_operations_are_counted_in_the_log(once, caplog):
    once.applied(2, complete=True)
    assert caplog.messages == ["--once: 2 operations failed"]


def test_timeout_ends_the_node_with_1_and_is_logged(once, finished, caplog):
    once.give_up()
    assert finished == [1]
    assert caplog.messages == ["--once: not applied within 60 seconds, giving up"]


def test_timeout_after_all_was_applied_is_ignored(once, finished, caplog):
    once.applied(0, complete=True)
    once.give_up()
    assert finished == [0]
    assert caplog.messages == []


def test_subjects_whose_problems_are_solved_are_forgotten(once):
    for number in range(100):
        once.note(ProblemsOf(number, (FATAL,)))
        once.note(ProblemsOf(number, ()))
    assert not once._invalid
