"""One child process as the supervisor has it, with a fake process and a time that the tests set."""

import errno
import os
import signal
import subprocess

import pytest

from actors.base.messages import Confirm, Ping, Reload
from actors.supervision import control
from actors.supervision.child_process import CONFIRMED, ChildProcess
from actors.supervision.confinement import Confinement
from actors.supervision.launch import Launch
from actors.supervision.policy import Policy
from tests.actors.support.some_settings import some_settings

POLICY = Policy(period=60, stuck_timeout=8, start_timeout=20, stop_timeout=3, first_delay=1, longest_delay=4)


CONFINEMENT = Confinement(view=2, writable=("/var/lib/clusterf",))


class FakePopen:
    """A process that does nothing; `status` is its exit status once it has ended."""

    pid = 4711

    def __init__(self, command, *, pass_fds, stdin, stdout, stderr, env):
        self.command = command
        self.end = os.dup(pass_fds[0])  # as the child has it
        self.passed = pass_fds
        self.output = stdout
        self.environment = env
        self.error = os.fstat(stderr).st_ino if stderr is not None else None
        self.signals = []
        self.status = None

    def poll(self):
        return self.status

    def send_signal(self, number):
        self.signals.append(number)

    def kill(self):
        self.signals.append(signal.SIGKILL)
        self.status = -signal.SIGKILL

    def wait(self, timeout=None):
        if self.status is None:
            raise subprocess.TimeoutExpired(self.command, timeout)
        return self.status


@pytest.fixture
def log():
    """A descriptor, and its number in the file system."""
    reader, writer = os.pipe()
    yield writer, os.fstat(writer).st_ino
    os.close(reader)


@pytest.fixture
def child(monkeypatch, log):
    monkeypatch.setattr(subprocess, "Popen", FakePopen)
    child = ChildProcess("director", POLICY, ["run"])
    launch = Launch(held=(0,), environment={"TZ": "UTC"}, prints=False, log=log[0], confinement=CONFINEMENT)
    child.start(some_settings(), 100.0, launch)
    yield child
    if child.control is not None:
        os.close(child._process.end)
        child.control.close()


def advance(child, seconds):
    """Let the supervisor come back at each of the child's deadlines for so long."""
    while seconds > 0:
        step = max(0.01, min(seconds, child.remaining(0)))
        child.tend(0, step)
        seconds -= step


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


def test_started_process_gets_its_name_and_descriptors(child, log):
    assert child.runs
    assert str(child) == "director (pid 4711)"
    assert child._process.command == ["run", str(child._process.passed[0])]
    assert child._process.passed[1:] == [0, 2]
    assert child._process.output == subprocess.DEVNULL
    assert child._process.error == log[1]
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(log[0])
    assert child._process.environment == {"TZ": "UTC"}
    (begin,) = sent(child)
    assert begin == control.Begin("director", some_settings(), CONFINEMENT)


def test_descriptor_of_the_log_is_closed_though_nothing_was_started(monkeypatch, log):
    def fail(*_):
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(control.socket, "socketpair", fail)
    with pytest.raises(OSError, match="Too many"):
        ChildProcess("config", POLICY, ["run"]).start(some_settings(), 100.0, Launch(log=log[0]))
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(log[0])


def test_process_is_pinged_at_once_and_again_after_each_reply(child):
    advance(child, 7)
    assert sent(child)[1:] == [Ping()]
    child.replied()
    advance(child, 1.9)
    assert sent(child) == []
    advance(child, 0.2)
    assert sent(child) == [Ping()]


def test_first_reply_may_take_the_start_timeout(child):
    advance(child, 19.9)
    assert child._process.signals == []
    advance(child, 0.2)
    assert child._process.signals == [signal.SIGUSR1]


def test_silent_process_dumps_its_stacks_and_is_killed(child, caplog):
    child.tend(0, 0)
    child.replied()
    advance(child, 8.5)
    assert child._process.signals == [signal.SIGUSR1]
    assert caplog.messages == ["director (pid 4711): stuck for 8 seconds, dumping its stacks and killing it"]
    advance(child, 1)
    assert child._process.signals == [signal.SIGUSR1, signal.SIGKILL]


def test_process_that_waits_for_a_cpu_is_not_stuck(child, monkeypatch, caplog):
    child.tend(0, 0)
    child.replied()
    monkeypatch.setattr(child._starvation, "since_last", lambda passed: passed)
    advance(child, 100)
    assert child._process.signals == []
    (line,) = caplog.messages
    assert line.startswith("director (pid 4711): no response for 8 seconds, waiting for a CPU or a device")
    monkeypatch.setattr(child._starvation, "since_last", lambda _: 0.0)
    advance(child, 6.5)
    assert child._process.signals == [signal.SIGUSR1]


def test_requests_become_one_while_one_is_carried_out(child):
    child.tend(0, 0)
    child.replied()
    sent(child)
    for _ in range(1000):
        child.request(Reload(), 0)
        child.request(Confirm(), 0)
    assert sent(child) == [Reload(), Ping()]
    child.replied()
    assert sent(child) == [Confirm(), Reload(), Ping()]
    child.replied()
    advance(child, 1)
    assert sent(child) == []


def test_request_before_the_first_reply_follows_it(child):
    child.tend(0, 0)
    child.request(Reload(), 0)
    assert sent(child)[1:] == [Ping()]
    child.replied()
    assert sent(child) == [Reload(), Ping()]


@pytest.mark.parametrize(("after", "told"), [(CONFIRMED - 1, [Confirm(), Ping()]), (CONFIRMED, [])])
def test_successor_of_a_process_is_told_of_what_was_confirmed_just_before(child, after, told):
    child.request(Confirm(), 100)
    child.request(Reload(), 100)
    os.close(child._process.end)
    child.hung_up(100)
    child._process.status = 70
    child.reap()
    child.start(some_settings(), 100 + after)
    child.tend(100 + after, 0)
    sent(child)
    child.replied()
    assert sent(child) == told


def test_ended_process_is_reaped_with_a_description(child):
    os.close(child._process.end)
    child.hung_up(100)
    assert child.reap() is None
    child._process.status = 70
    assert child.reap() == ("director (pid 4711): exited with status 70", 70)
    assert (child.runs, str(child), child.control) == (False, "director", None)
    child.send(Ping())  # does nothing
    child.request(Reload(), 0)  # likewise
    assert child.reap() is None


def test_process_that_has_hung_up_but_does_not_end_is_killed(child):
    os.close(child._process.end)
    child.hung_up(100)
    child.tend(102.9, 1)
    assert child.reap() is None
    assert child.remaining(102) == pytest.approx(1)
    child.tend(103, 1)
    assert child.reap() == ("director (pid 4711): killed by SIGKILL", -signal.SIGKILL)


def test_process_that_survives_a_kill_does_not_hold_up_the_supervisor(child, caplog, monkeypatch):
    monkeypatch.setattr(FakePopen, "kill", lambda self: self.signals.append(signal.SIGKILL))
    end = child._process.end
    child.stop()
    os.close(end)
    assert "director (pid 4711): killed, but does not end, left behind" in caplog.text


def test_process_that_does_not_stop_is_killed(child, caplog):
    end = child._process.end
    child.stop()
    os.close(end)
    for line in ("not stopped within 3 seconds, killing it", "killed by SIGKILL"):
        assert f"director (pid 4711): {line}" in caplog.text
    assert not child.runs


def test_process_is_due_after_its_delay(child):
    os.close(child._process.end)
    child.hung_up(100)
    child._process.status = 70
    child.reap()
    delay = child.restart_later(200)
    assert child.remaining(200) == pytest.approx(delay)
    assert not child.is_due(200 + delay / 2)
    assert child.is_due(200 + delay)


def test_process_has_recovered_when_it_has_replied_and_run_for_a_period(child):
    assert not child.was_in_order
    assert not child.has_recovered(160.1)
    child.replied()
    assert child.was_in_order
    assert not child.has_recovered(160)
    assert child.has_recovered(160.1)
    assert child.count_end(150) == 1
    assert child.count_end(160) == 2
    assert child.count_end(160.1) == 1


def test_failures_of_a_process_in_a_crash_loop_are_not_for_everybody_to_read(child, caplog):
    child.in_crash_loop = True
    advance(child, 21)
    assert child._process.signals == [signal.SIGUSR1]
    assert caplog.messages == []


def test_process_that_cannot_be_started_leaves_no_descriptor(monkeypatch):
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    child = ChildProcess("director", POLICY, ["run"])

    def refuse(*_, **__):
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    with pytest.raises(FileNotFoundError):
        child.start(some_settings(), 0)
    assert not child.runs
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208
