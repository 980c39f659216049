import os
import signal
import subprocess
import sys

import pytest

from clusterf.host.starvation import Starvation
from tests.waiting import wait_until

pytestmark = pytest.mark.process

SPIN = "while True: pass"


@pytest.fixture
def crowd():
    """Start processes that all spin on one CPU; yield them."""
    cpu = min(os.sched_getaffinity(0))
    spinning = [
        subprocess.Popen([sys.executable, "-S", "-c", f"import os; os.sched_setaffinity(0, {{{cpu}}})\n{SPIN}"])
        for _ in range(3)
    ]
    yield spinning
    for process in spinning:
        process.kill()
        process.wait()


def test_process_that_waits_for_a_cpu_is_seen(crowd):
    wait = Starvation(crowd[0].pid)
    waited = 0.0
    while waited < 0.2:
        waited += wait.since_last(1)


def test_process_that_never_gets_its_turn_waits_all_the_time(crowd):
    last = crowd[0].pid
    os.sched_setscheduler(last, os.SCHED_IDLE, os.sched_param(0))
    wait = Starvation(last)
    # three looks with nothing run in between, where its turns come every few hundred milliseconds
    wait_until(lambda: [wait.since_last(7) for _ in range(3)] == [7, 7, 7])


LOWERED = """
import os, threading, time
os.sched_setaffinity(0, {cpu})
def spin():
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 19)
    print(flush=True)
    while True: pass
threading.Thread(target=spin, daemon=True).start()
time.sleep(100)
"""


def test_threads_of_a_lower_priority_are_to_wait(crowd):
    code = LOWERED.replace("cpu", str(min(os.sched_getaffinity(0))))
    with subprocess.Popen([sys.executable, "-S", "-c", code], stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        wait = Starvation(process.pid)
        wait_until(lambda: wait.since_last(1) == 0)
        # (its first thread waits for a moment)
        assert sum(wait.since_last(1) for _ in range(100)) < 5
        process.kill()


def test_wait_is_not_longer_than_the_time_that_passed(crowd):
    wait = Starvation(crowd[0].pid)
    wait_until(lambda: wait.since_last(0.001) == 0.001)


def test_process_that_sleeps_or_is_stopped_waits_for_no_cpu():
    with subprocess.Popen(["/bin/sleep", "100"]) as sleeping:
        wait = Starvation(sleeping.pid)
        wait_until(lambda: wait.since_last(1) == 0)
        sleeping.send_signal(signal.SIGSTOP)
        wait_until(lambda: wait.since_last(1) == 0)
        sleeping.kill()


def test_kernel_that_counts_nothing_has_nobody_wait(tmp_path, monkeypatch):
    (tmp_path / "1").mkdir()
    (tmp_path / "1/schedstat").write_text("0 0 0\n")
    rest = " 0" * 49
    (tmp_path / "1/stat").write_text(f"1 (a) b) R{rest}\n")
    wait = Starvation(1 << 30)  # there is none
    monkeypatch.setattr(wait, "_folder", tmp_path)
    monkeypatch.setattr(wait, "_first", tmp_path / "1/stat")
    assert [wait.since_last(1) for _ in range(3)] == [0, 0, 0]
    (tmp_path / "1/schedstat").write_text("5 500000000 1\n")
    assert [wait.since_last(1) for _ in range(3)] == [0.5, 1, 1]
    for state, waited in {"D": 1, "S": 0, "T": 0}.items():
        (tmp_path / "1/stat").write_text(f"1 (a) b) {state}{rest}\n")
        wait.since_last(1)
        assert wait.since_last(1) == waited


def test_process_that_has_ended_waits_for_nothing():
    with subprocess.Popen(["/bin/true"]) as ended:
        pass
    assert Starvation(ended.pid).since_last(1) == 0
