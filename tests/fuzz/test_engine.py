"""The fuzzer of our own, on small targets."""

import logging
from pathlib import Path
from random import Random

import pytest

from tests.fuzz.coverage import Coverage, lines_of
from tests.fuzz.engine import fuzz, watchdog
from tests.fuzz.invariants import assert_printable, logged
from tests.fuzz.minimise import failure, minimise
from tests.fuzz.target import Target, targets

KEYS = "clusterf.config.keys"


def check_first_byte(data: bytes) -> str:
    assert data[:1] != b"!", "it begins with an exclamation mark"
    return "fine"


def test_input_that_breaks_a_promise_is_found_and_made_small():
    target = Target(check_first_byte, (KEYS,))
    found = fuzz(target, [b" or so it seems"], 20, Random(1))
    assert found is not None
    assert isinstance(found.error, AssertionError)
    kind, text = failure(target, found.data)
    assert kind.startswith("AssertionError in tests/fuzz/test_engine.py:")
    assert "it begins with an exclamation mark" in text
    assert minimise(target, found.data) == b"!"


def test_target_that_keeps_its_promises_is_left_after_its_time():
    assert fuzz(Target(lambda data: "fine", (KEYS,)), [], 0.01, Random(1)) is None


def test_input_that_hangs_the_target_is_found(monkeypatch):
    def spin(data: bytes) -> str:
        while True:
            pass

    monkeypatch.setattr("tests.fuzz.engine.HANG", 1)
    monkeypatch.setattr("tests.fuzz.engine.watchdog", lambda: watchdog(1))
    found = fuzz(Target(spin, (KEYS,)), [b"x"], 20, Random(1))
    assert found is not None
    assert str(found.error) == "no end after 1 seconds"


def test_memory_of_an_input_is_bounded():
    kept = []

    def grow(data: bytes) -> str:
        kept.append(b"x" * (1 << 28))
        return "fine"

    # what the process has once had does not count as growth (proc(5): 5 forgets the peak)
    Path("/proc/self/clear_refs").write_text("5")
    bounded = targets({"grow": Target(grow, (KEYS,))})["grow"].check
    with pytest.raises(AssertionError, match="MB for 3 bytes"):
        bounded(b"abc")


def test_coverage_has_the_steps_between_lines_of_the_modules():
    from clusterf.config.keys import parse_key

    coverage = Coverage([KEYS])
    with coverage.measured():
        parse_key(b"health")
    one = set(coverage.steps)
    assert coverage.lines < lines_of(KEYS)
    with coverage.measured():
        parse_key(b"routes/r")
    assert coverage.steps > one


@pytest.mark.parametrize("text", ["\n", "\x1b", "\u202e", "\udcff", "\u115f", "e\u0301", "x" * 30_000])
def test_text_that_is_no_printable_line_is_refused(text):
    with pytest.raises(AssertionError):
        assert_printable(text)


def test_line_that_is_logged_is_refused_as_it_is_written():
    log = logging.getLogger("clusterf.x")
    with pytest.raises(AssertionError, match="a traceback"), logged():
        log.error("failed", exc_info=ValueError())
    with logged() as lines:
        log.warning("all is %s", "fine")
    assert lines == ["warning: all is fine"]
