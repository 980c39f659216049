"""One child process as the supervisor has it, with a fake process and a clock that the tests set."""

import os
import signal
import subprocess

import pytest

from actors.base.messages import Ping
from actors.supervision import child_process, control
from actors.supervision.child_process import ChildProcess, Policy
from tests.actors.support.some_settings import some_settings

POLICY = Policy(period=60, stuck_timeout=8, start_timeout=20, stop_timeout=3, first_delay=1, longest_delay=4)


class FakePopen:
    """A process that does nothing; `status` is its exit status once it has ended."""

    pid = 4711

    def __init__(self, command, *, pass_fds, stdin):
        self.command = command
        self.end = os.dup(pass_fds[0])  # as the child has it
        self.passed = pass_fds
        self.signals = []
        self.status = None

    def send_signal(self, number):
        self.signals.append(number)

    def kill(self):
        self.signals.append(signal.SIGKILL)
        self.status = -signal.SIGKILL

    def wait(self, timeout=None):
        if self.status is None:
            raise subprocess.TimeoutExpired(self.command, timeout)
        return self.status


class Clock:
    now = 100.0

    def monotonic(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(child_process, "time", clock)
    return clock


@pytest.fixture
def child(monkeypatch, clock):
    monkeypatch.setattr(subprocess, "Popen", FakePopen)
    child = ChildProcess("director", POLICY, ["run"], held=0)
    child.start(some_settings())
    yield child
    if child.control is not None:
        os.close(child._process.end)
        child.control.close()


def advance(child, clock, to):
    """Let the supervisor come back at each of the child's deadlines until then."""
    while child.deadline <= to:
        clock.now = max(clock.now, child.deadline)
        child.tend(clock.now)


def sent(child):
    """Return the messages that the child has not read yet."""
    with control.socket.socket(fileno=os.dup(child._process.end)) as end:
        end.setblocking(False)
        messages = []
        while True:
            try:
                messages.append(control.receive(end))
            except BlockingIOError:
                return messages


def test_started_process_gets_its_name_and_descriptors(child):
    assert child.runs
    assert str(child) == "director (pid 4711)"
    assert child._process.command == ["run", str(child._process.passed[0])]
    assert child._process.passed[1] == 0
    (begin,) = sent(child)
    assert begin == control.Begin("director", some_settings())


def test_process_is_pinged_four_times_a_timeout(child, clock):
    child.replied()
    sent(child)
    advance(child, clock, to=107)
    assert sent(child) == [Ping()] * 3
    assert child._process.signals == []


def test_first_reply_may_take_the_start_timeout(child, clock):
    advance(child, clock, to=119.9)
    assert child._process.signals == []
    advance(child, clock, to=120.1)
    assert child._process.signals == [signal.SIGUSR1]


def test_silent_process_dumps_its_stacks_and_is_killed(child, clock, caplog):
    child.replied()
    advance(child, clock, to=108.5)
    assert child._process.signals == [signal.SIGUSR1]
    assert caplog.messages == ["director (pid 4711): stuck for 8 seconds, dumping its stacks and killing it"]
    advance(child, clock, to=109.5)
    assert child._process.signals == [signal.SIGUSR1, signal.SIGKILL]


def test_process_that_replies_is_never_stuck(child, clock):
    for now in range(100, 200, 5):
        advance(child, clock, to=now)
        clock.now = now
        child.replied()
    assert child._process.signals == []


def test_pause_of_the_supervisor_is_not_the_child_being_stuck(child, clock):
    child.replied()
    advance(child, clock, to=103)
    clock.now = 700.0
    child.tend(clock.now)
    assert child._process.signals == []
    # only the time before the pause and after it counts
    advance(child, clock, to=703.5)
    assert child._process.signals == []
    advance(child, clock, to=704.5)
    assert child._process.signals == [signal.SIGUSR1]


def test_ended_process_is_reaped_with_a_description(child):
    os.close(child._process.end)
    child._process.status = 70
    assert child.reap() == ("director (pid 4711): exited with status 70", 70)
    assert (child.runs, str(child), child.control) == (False, "director", None)
    child.send(Ping())  # does nothing


def test_process_that_has_hung_up_but_does_not_end_is_killed(child):
    os.close(child._process.end)
    assert child.reap() == ("director (pid 4711): killed by SIGKILL", -signal.SIGKILL)


def test_process_that_does_not_stop_is_killed(child, caplog):
    end = child._process.end
    child.stop()
    os.close(end)
    for line in ("not stopped within 3 seconds, killing it", "killed by SIGKILL"):
        assert f"director (pid 4711): {line}" in caplog.text
    assert not child.runs


def test_delays_between_restarts_grow_until_it_has_run_for_a_period(child, clock):
    delays = [child.restart_later() for _ in range(3)]
    for delay, nominal in zip(delays, (1, 2, 4), strict=True):
        assert nominal * 0.8 <= delay <= nominal * 1.2
    clock.now += 61
    assert child.restart_later() <= 1.2


def test_process_that_cannot_be_started_leaves_no_descriptor(monkeypatch):
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    child = ChildProcess("director", POLICY, ["run"])

    def refuse(*_, **__):
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    with pytest.raises(FileNotFoundError):
        child.start(some_settings())
    assert not child.runs
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208
