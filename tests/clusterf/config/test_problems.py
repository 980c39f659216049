from clusterf.config.problems import KnownProblems, Problem, ProblemsOf, conflict
from tests.clusterf.support.decoding import FRONTEND, read


def test_problem_is_printed_as_one_line():
    [problem] = read(FRONTEND, {"tcp": 65536}).problems
    assert problem == Problem(
        "file:///etc/clusterf", b"services/web/frontend", "tcp", "Expected `int` <= 65535", fatal=True
    )
    assert str(problem) == "file:///etc/clusterf: services/web/frontend: tcp: Expected `int` <= 65535"


def test_problem_of_a_whole_object_names_no_field():
    problem = Problem("etcd://h1:2379/clusterf", b"services/a\nb/extra", "", "unknown key", fatal=False)
    assert str(problem) == r"etcd://h1:2379/clusterf: services/a\x0ab/extra: unknown key"


def test_hostile_value_is_escaped_and_cut():
    [problem] = read(FRONTEND, {"scheduler": "\x1b[2J\n" + "x" * 1_000_000}).problems
    assert r"unknown scheduler: \x1b[2J\x0axxx" in str(problem)
    assert len(problem.reason) == 200
    assert len(str(problem)) < 300
    lone = Problem("\ud800", b"", "\r", "\n" * 1000, fatal=True)
    assert str(lone).startswith(r"\ud800: \x0d: \x0a\x0a")
    assert len(str(lone)) < 250


def test_conflict_is_a_fatal_problem_of_the_configuration():
    assert str(conflict(b"services/web/frontend", "taken")) == "configuration: services/web/frontend: taken"
    assert conflict(b"services/web/frontend", "taken").fatal


def test_known_problems_are_reported_when_they_begin_change_and_end():
    known, first, second = KnownProblems(), conflict(b"a", "1"), conflict(b"a", "2")
    assert list(known.report("x", ())) == []
    assert list(known.report("x", (first,))) == [ProblemsOf("x", (first,))]
    assert list(known.report("x", (first,))) == []
    assert list(known.report("y", (first,))) == [ProblemsOf("y", (first,))]
    assert list(known.report("x", (first, second))) == [ProblemsOf("x", (first, second))]
    assert list(known.report("x", ())) == [ProblemsOf("x", ())]
