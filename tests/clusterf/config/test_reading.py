import pytest

from clusterf.config.fields import read_port
from clusterf.config.reading import MOST, Reading, Shape

INNER = Shape({"port": read_port}, lambda fields, _: fields)
SHAPE = Shape({"port": read_port, "inner": INNER}, lambda fields, _: fields)


@pytest.fixture
def reading():
    return Reading("file:///tree", b"services/web/frontend")


def test_names_match_without_regard_to_case_and_null_is_absent(reading):
    assert reading.object(SHAPE, {"PORT": 80, "Inner": None}) == {"port": 80}
    assert reading.problems == ()


def test_every_invalid_field_is_a_problem_by_its_whole_name(reading):
    assert reading.object(SHAPE, {"port": -1, "inner": {"port": 65536}}) == {"inner": {}}
    assert [(problem.field, problem.fatal) for problem in reading.problems] == [("port", True), ("inner.port", True)]
    assert reading.invalid == {"port", "inner.port"}


def test_unknown_field_is_no_fatal_problem(reading):
    assert reading.object(SHAPE, {"inner": {"colour": "red"}}) == {"inner": {}}
    assert [(problem.field, problem.fatal) for problem in reading.problems] == [("inner.colour", False)]
    assert not reading.invalid


def test_field_is_not_reported_against_one_that_is_invalid_already(reading):
    reading.fault("bad", "upper")
    reading.fault("greater than upper", "lower", "upper")
    assert [problem.field for problem in reading.problems] == ["upper"]


@pytest.mark.parametrize("port", [80, -1])
def test_problems_are_counted_once_there_are_too_many(reading, port):
    reading.object(SHAPE, {**{f"field{number}": 0 for number in range(100_000)}, "port": port})
    *first, last = reading.problems
    assert len(first) == MOST
    assert (last.field, last.reason) == ("", f"{100_000 - MOST + (port < 0)} more problems")
    assert last.fatal == (port < 0) == bool(reading.invalid)
