import os
import signal
import socket
import sys
import threading
import time
from pathlib import Path

import msgspec
import pytest

from actors.settings import Settings
from actors.supervision import control
from actors.supervision.supervisor import Policy, Supervisor

FAKE = Path(__file__).parents[1] / "support" / "fake_child.py"
QUICK = Policy(
    intensity=3, period=60, stuck_timeout=0.4, stop_timeout=0.5, start_timeout=10, first_delay=0.02, longest_delay=0.1
)


def settings(**changes):
    """Return settings with some value for every field."""
    values = {"int": 1, "float": 1.0, "str": "", "bool": False}
    fields = {
        field.name: () if "tuple" in str(field.type) else values.get(getattr(field.type, "__name__", ""), "")
        for field in msgspec.structs.fields(Settings)
    }
    fields |= {"log_format": "text", "ipvs_forward_method": "masq", "log_level": "info"}
    fields |= {"docker_address": "container", "route_ipvs_method": None}
    return Settings(**fields | changes)


@pytest.fixture(autouse=True)
def _signals_as_they_were():
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


@pytest.fixture
def lives(tmp_path):
    return tmp_path / "lives"


@pytest.fixture
def run(lives, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(FAKE.parents[3]))

    def run(mode, policy=QUICK, names=("one",), **changes):
        command = [sys.executable, str(FAKE), mode, str(lives)]
        return Supervisor(names, settings(**changes), policy, command=command).run()

    return run


def lived(lives):
    return [line.split()[0] for line in lives.read_text().splitlines()]


def later(seconds, number):
    timer = threading.Timer(seconds, os.kill, (os.getpid(), number))
    timer.start()
    return timer


def test_a_child_that_finishes_ends_the_node_with_its_status(run, lives):
    assert run("finish") == 3
    assert len(lived(lives)) == 1


def test_a_child_that_crashes_is_started_again(run, lives, caplog):
    assert run("crash once") == 3
    assert len(lived(lives)) == 2
    assert "ended with status 70, starting it again" in caplog.text


def test_a_child_that_crashes_again_and_again_is_given_up(run, lives, caplog):
    assert run("crash") == 1
    assert len(lived(lives)) == 4
    assert "giving up: children ended 4 times within 60 seconds" in caplog.text


def test_the_crashes_of_all_children_count_together(run, lives):
    assert run("crash", names=("one", "two", "three")) == 1
    assert 4 <= len(lived(lives)) <= 7


def test_crashes_that_are_long_past_do_not_count(run, lives):
    later(1.5, signal.SIGTERM)
    assert run("crash", QUICK._replace(period=0.05, first_delay=0.1)) == 0
    assert len(lived(lives)) > 4


def test_a_child_that_cannot_be_started_is_tried_again_and_given_up(caplog):
    assert Supervisor(["one"], settings(), QUICK, command=["/nonexistent"]).run() == 1
    assert caplog.text.count("cannot be started") == 4


def test_a_child_that_ends_at_once_does_not_hurt(caplog):
    assert Supervisor(["one"], settings(), QUICK, command=["/bin/true"]).run() == 1
    assert "ended with status 0" in caplog.text


def test_a_stuck_child_dumps_its_stacks_and_is_started_again(run, lives, caplog, capfd):
    assert run("stuck", QUICK._replace(start_timeout=1)) == 5
    assert len(lived(lives)) == 2
    assert "stuck for" in caplog.text
    assert "killed by SIGKILL" in caplog.text
    assert "fake_child.py" in capfd.readouterr().err


def test_a_child_that_answers_is_not_taken_for_stuck(run, lives):
    later(1.5, signal.SIGTERM)
    assert run("answer") == 0
    assert len(lived(lives)) == 1


def test_a_supervisor_that_was_held_up_itself_takes_nobody_for_stuck(run, lives, monkeypatch):
    heed = Supervisor._heed_child
    held = []

    def hold_up(self, child):
        heed(self, child)
        if not held:
            held.append(time.sleep(0.6))

    monkeypatch.setattr(Supervisor, "_heed_child", hold_up)
    later(1.5, signal.SIGTERM)
    assert run("answer") == 0
    assert held
    assert len(lived(lives)) == 1


def test_rubbish_from_a_child_ends_only_that_child(run, lives, caplog):
    assert run("rubbish") == 5
    assert len(lived(lives)) == 2


def test_a_flush_is_not_repeated_by_the_next_child(run, lives):
    assert run("flush and crash", flush=True) == 0
    assert [line.split()[1] for line in lives.read_text().splitlines()] == ["True", "False"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_node_in_order(run, lives, number):
    later(0.5, number)
    assert run("answer", names=("one", "two")) == 0
    for pid in lived(lives):
        assert not Path("/proc", pid).exists()


def test_a_child_that_does_not_stop_is_killed(run, lives, caplog):
    later(0.4, signal.SIGTERM)
    assert run("deaf") == 0
    assert "does not stop, killing it" in caplog.text
    assert not Path("/proc", lived(lives)[0]).exists()


def test_restarts_leave_no_descriptors(run, lives):
    before = len(list(Path("/proc/self/fd").iterdir()))
    run("crash", QUICK._replace(intensity=6))
    assert len(list(Path("/proc/self/fd").iterdir())) == before


@pytest.mark.parametrize(
    "message", [control.Begin("x", settings()), control.Ping(1), control.Stop(), control.Flushed()]
)
def test_what_is_sent_is_received(message):

    one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with one, other:
        control.send(one, message)
        assert control.receive(other) == message
        one.close()
        assert control.receive(other) is None


def test_a_child_holds_what_it_is_to_hold(tmp_path):
    with (tmp_path / "lock").open("w") as lock:
        command = ["/bin/sh", "-c", f"readlink /proc/self/fd/{lock.fileno()} > {tmp_path}/held; #"]
        for name in ("one", "two"):
            assert Supervisor([name], settings(), QUICK, command=command, held={"one": lock.fileno()}).run() == 1
            held = (tmp_path / "held").read_text().strip()
            assert (held == str(tmp_path / "lock")) is (name == "one")
