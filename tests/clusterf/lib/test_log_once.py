import logging

import pytest

from clusterf.lib.log_once import LogOnce

logger = logging.getLogger("tests.log_once")


@pytest.fixture
def lines(caplog):
    caplog.set_level(logging.DEBUG)

    def lines():
        taken = [(record.levelname, record.getMessage()) for record in caplog.records]
        caplog.clear()
        return taken

    return lines


def test_complaint_is_logged_once(lines):
    once = LogOnce(logger)
    assert once.log("eth0", "link %s: down", "eth0")
    assert not once.log("eth0", "link %s: down", "eth0")
    assert lines() == [("WARNING", "link eth0: down")]


def test_changed_complaint_is_logged(lines):
    once = LogOnce(logger, logging.ERROR)
    once.log("eth0", "down")
    once.log("eth0", "missing")
    once.log("eth0", "down")
    assert lines() == [("ERROR", "down"), ("ERROR", "missing"), ("ERROR", "down")]


def test_subjects_are_independent(lines):
    once = LogOnce(logger)
    once.log("eth0", "down", level=logging.INFO)
    once.log(("eth1", 7), "down")
    assert lines() == [("INFO", "down"), ("WARNING", "down")]


def test_ended_complaint_is_new_when_it_returns(lines):
    once = LogOnce(logger)
    once.log("eth0", "down")
    assert "eth0" in once
    assert once.end("eth0", "%s is up", "eth0")
    assert "eth0" not in once
    once.log("eth0", "down")
    assert lines() == [("WARNING", "down"), ("INFO", "eth0 is up"), ("WARNING", "down")]


def test_end_without_complaint_logs_nothing(lines):
    once = LogOnce(logger)
    assert not once.end("eth0", "eth0 is up")
    assert lines() == []


def test_end_without_message_logs_nothing(lines):
    once = LogOnce(logger)
    once.log("eth0", "down")
    assert once.end("eth0")
    assert lines() == [("WARNING", "down")]


def test_percent_signs_of_a_message_without_arguments_are_kept(lines):
    once = LogOnce(logger)
    once.log("disk", "100% full")
    assert lines() == [("WARNING", "100% full")]


def test_lasting_complaint_is_logged_again_after_the_reminder(lines):
    now = 0.0
    once = LogOnce(logger, remind=60, clock=lambda: now)
    once.log("etcd", "unreachable")
    now = 59
    once.log("etcd", "unreachable")
    now = 60
    once.log("etcd", "unreachable")
    now = 119
    once.log("etcd", "unreachable")
    assert lines() == 2 * [("WARNING", "unreachable")]


@pytest.mark.parametrize("nothing", [(), "", None])
def test_is_new_tells_begin_change_and_end(nothing, lines):
    once = LogOnce(logger)
    assert not once.is_new("web", nothing)
    assert once.is_new("web", ("port",))
    assert not once.is_new("web", ("port",))
    assert once.is_new("web", ("port", "weight"))
    assert once.is_new("web", nothing)
    assert not once.is_new("web", nothing)
    assert lines() == []


def test_retain_forgets_the_subjects_that_are_gone(lines):
    once = LogOnce(logger)
    for subject in ("web", "api"):
        once.log(subject, subject)
    once.retain({"web"})
    assert ("web" in once, "api" in once, len(once)) == (True, False, 1)
    for subject in ("web", "api"):
        once.log(subject, subject)
    assert lines() == [("WARNING", "web"), ("WARNING", "api"), ("WARNING", "api")]


def test_cleared_complaints_are_new(lines):
    once = LogOnce(logger)
    once.log("web", "web")
    once.clear()
    assert len(once) == 0
    assert once.log("web", "web")
