import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from actors.supervision.child_process import ChildProcess
from actors.supervision.launch import Launch
from actors.supervision.permits import permits
from actors.supervision.policy import Policy
from actors.supervision.supervisor import Supervisor
from tests.actors.support.some_settings import some_settings
from tests.waiting import wait_until

pytestmark = pytest.mark.process

FAKE = Path(__file__).parents[1] / "support" / "fake_child.py"
QUICK = Policy(
    intensity=3, period=60, stuck_timeout=0.4, stop_timeout=0.5, start_timeout=10, first_delay=0.02, longest_delay=0.1
)


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

    def run(mode, policy=QUICK, names=("one",), permits=lambda *_: True, **changes):
        options = {name: changes.pop(name) for name in ("policies", "dispensable") if name in changes}
        options |= {"command": [sys.executable, str(FAKE), mode, str(lives)], "permits": permits}
        return Supervisor(names, some_settings(**changes), policy, **options).run()

    return run


def lived(lives):
    return [line.split()[0] for line in lives.read_text().splitlines()]


def signal_when(condition, number=signal.SIGTERM):
    """Send this process, which is the supervisor, a signal once the condition holds."""

    def wait():
        wait_until(condition, 60)
        os.kill(os.getpid(), number)

    threading.Thread(target=wait, daemon=True).start()


def count_pongs(monkeypatch):
    """Return a list that grows by one with each reply of a child to a ping."""
    replied, pongs = ChildProcess.replied, []
    monkeypatch.setattr(ChildProcess, "replied", lambda self: pongs.append(replied(self)))
    return pongs


def test_finished_child_ends_the_node_with_its_status(run, lives):
    assert run("finish") == 3
    assert len(lived(lives)) == 1


def test_crashed_child_is_restarted(run, lives, caplog):
    assert run("crash once") == 3
    assert len(lived(lives)) == 2
    assert "exited with status 70, restarting in" in caplog.text


def test_supervisor_gives_up_after_too_many_crashes(run, lives, caplog):
    assert run("crash") == 1
    assert len(lived(lives)) == 4
    assert "giving up: 4 exits of processes within 60 seconds" in caplog.text


def test_crashes_of_all_children_are_counted_together(run, lives):
    assert run("crash", names=("one", "two", "three")) == 1
    assert 4 <= len(lived(lives)) <= 7


def test_crashes_before_the_period_are_not_counted(run, lives):
    signal_when(lambda: lives.exists() and len(lived(lives)) > 4)
    assert run("crash", QUICK._replace(period=0.01, first_delay=0.02)) == 0
    assert len(lived(lives)) > 4


def test_others_go_on_for_ever_without_a_dispensable_child_that_was_in_order(run, lives, caplog):
    signal_when(lambda: lives.exists() and len(lived(lives)) > 6)
    assert run("crash if dispensable", names=("director", "health"), dispensable={"health"}) == 0
    assert caplog.text.count("exited with status 70, restarting in ") == 3
    assert caplog.text.count("crash loop: 4 exits, never 60 seconds between") == 1
    assert "director" not in caplog.text.replace("stopping", "")


def test_node_ends_if_a_dispensable_child_never_comes_up(run, lives, caplog):
    assert run("crash", dispensable={"one"}) == 1
    assert len(lived(lives)) == 4
    assert "giving up: 4 exits of processes within 60 seconds" in caplog.text


def test_child_that_never_can_be_started_ends_the_node_with_one_line(caplog):
    assert Supervisor(["one", "two"], some_settings(), QUICK, command=["/nonexistent"]).run() == 1
    (line,) = caplog.messages
    assert line == "one: cannot be started: [Errno 2] No such file or directory: '/nonexistent'"


@pytest.mark.parametrize("first", [True, False])
def test_child_that_cannot_be_started_for_the_moment_is_retried_for_ever(run, lives, caplog, monkeypatch, first):
    caplog.set_level("INFO")
    start, failures = subprocess.Popen, [BlockingIOError(11, "Resource temporarily unavailable")] * 9

    def fail_at_times(*args, **options):
        if failures and (first or lives.exists()):
            raise failures.pop()
        return start(*args, **options)

    if not first:
        # an interpreter that goes while the node runs may come back: an upgrade replaces it
        failures[:] = [FileNotFoundError(2, "No such file or directory")] * 9
    monkeypatch.setattr(subprocess, "Popen", fail_at_times)
    assert run("finish" if first else "crash once", QUICK._replace(longest_delay=0.02)) == 3
    assert not failures
    assert caplog.text.count("cannot be started") == 1
    assert "retrying" in caplog.text
    assert "started, at last" in caplog.text


def test_once_ends_although_a_child_cannot_be_started(run, caplog, monkeypatch):
    def fail(*_, **__):
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(subprocess, "Popen", fail)
    assert run("finish", once=True, once_timeout=0.2) == 1
    assert "--once: not applied within 0.2 seconds, giving up" in caplog.text


def test_child_that_exits_at_once_is_counted_as_crashed(caplog):
    assert Supervisor(["one"], some_settings(), QUICK, command=["/bin/true"]).run() == 1
    assert "exited with status 0" in caplog.text


def test_stuck_child_dumps_its_stacks_and_is_restarted(run, lives, caplog, capfd):
    assert run("stuck", QUICK._replace(start_timeout=1)) == 5
    assert len(lived(lives)) == 2
    assert "stuck for" in caplog.text
    assert "killed by SIGKILL" in caplog.text
    assert "fake_child.py" in capfd.readouterr().err


def test_child_with_a_policy_of_its_own_is_found_by_that(run, lives, caplog):
    policies = {"one": QUICK._replace(start_timeout=1, dump_time=0.1)}
    assert run("stuck", QUICK._replace(start_timeout=600, stuck_timeout=600), policies=policies) == 5
    assert "killed by SIGKILL" in caplog.text


def test_child_that_replies_to_pings_is_not_stuck(run, lives, monkeypatch):
    pongs = count_pongs(monkeypatch)
    signal_when(lambda: len(pongs) > 8)  # for longer than the stuck timeout, in which there are four
    assert run("answer") == 0
    assert len(lived(lives)) == 1


def test_pause_of_the_supervisor_makes_no_child_stuck(run, lives, monkeypatch):
    handle = Supervisor._handle_message
    held = []

    def hold_up(self, child):
        handle(self, child)
        if not held:
            held.append(time.sleep(0.6))

    monkeypatch.setattr(Supervisor, "_handle_message", hold_up)
    pongs = count_pongs(monkeypatch)
    signal_when(lambda: len(pongs) > 4)
    assert run("answer") == 0
    assert held
    assert len(lived(lives)) == 1


@pytest.fixture
def greedy():
    """A process that spins on the CPU on which `fake_child.py` is last in the queue."""
    cpu = min(os.sched_getaffinity(0))
    spin = f"import os\nos.sched_setaffinity(0, {{{cpu}}})\nwhile True: pass"
    process = subprocess.Popen([sys.executable, "-S", "-c", spin])
    yield process
    process.kill()
    process.wait()


@pytest.mark.usefixtures("greedy")
def test_child_that_is_starved_of_cpu_is_not_stuck(run, lives, caplog):
    signal_when(lambda: "no response" in caplog.text and lives.exists())
    assert run("starve", QUICK._replace(start_timeout=1)) == 0
    assert len(lived(lives)) == 1
    assert "stuck" not in caplog.text


def test_invalid_message_restarts_only_its_sender(run, lives, caplog):
    assert run("rubbish") == 5
    assert len(lived(lives)) == 2


@pytest.mark.parametrize("once", [True, False])
def test_health_process_that_says_that_the_node_is_finished_is_restarted(run, lives, caplog, once):
    signal_when(lambda: lives.exists() and len(lived(lives)) > 1)
    assert run("finish", names=("health",), permits=permits, once=once) == once
    assert "invalid message: Finished is not for it to send" in caplog.text


def test_flush_is_not_repeated_after_a_restart(run, lives):
    assert run("flush and crash", flush=True) == 0
    assert [line.split()[1] for line in lives.read_text().splitlines()] == ["True", "False"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_stops_all_children(run, lives, number):
    signal_when(lambda: lives.exists() and len(lived(lives)) == 2, number)
    assert run("answer", names=("one", "two")) == 0
    for pid in lived(lives):
        assert not Path("/proc", pid).exists()


@pytest.mark.parametrize(("name", "line"), [("director", "stopping; the table stays as it is"), ("docker", "stopping")])
def test_only_a_node_with_a_director_speaks_of_its_table(run, lives, caplog, name, line):
    caplog.set_level("INFO")
    signal_when(lambda: lives.exists() and lived(lives))
    assert run("answer", names=(name,)) == 0
    assert line in caplog.messages


def test_once_that_is_stopped_by_a_signal_exits_with_1(run, lives):
    signal_when(lambda: lives.exists() and lived(lives))
    assert run("answer", once=True) == 1


def test_child_that_does_not_stop_is_killed(run, lives, caplog):
    signal_when(lambda: lives.exists() and lived(lives))
    assert run("deaf") == 0
    assert "not stopped within 0.5 seconds, killing it" in caplog.text
    assert not Path("/proc", lived(lives)[0]).exists()


def test_restarts_leak_no_descriptors(run, lives):
    before = len(list(Path("/proc/self/fd").iterdir()))
    run("crash", QUICK._replace(intensity=6))
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_child_inherits_only_its_own_held_descriptor(tmp_path):
    with (tmp_path / "lock").open("w") as lock:
        command = ["/bin/sh", "-c", f"readlink /proc/self/fd/{lock.fileno()} > {tmp_path}/held; #"]
        launches = {"one": Launch(held=(lock.fileno(),)), "two": Launch()}
        for name in ("one", "two"):
            assert Supervisor([name], some_settings(), QUICK, command=command, launch=launches.get).run() == 1
            held = (tmp_path / "held").read_text().strip()
            assert (held == str(tmp_path / "lock")) is (name == "one")
