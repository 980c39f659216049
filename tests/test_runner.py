"""How the parts of a test run are run side by side, and how their ends are read."""

import signal
import subprocess
import time

import pytest

from tests.runner import Part, Result, Run, closing_line, exit_status, run

PASSED, FAILED, INTERRUPTED, UNUSABLE, NONE_FOUND = 0, 1, 2, 4, 5


def shell(script):
    """Return a part that runs a script instead of pytest."""
    return Part(script, "any", within=["sh", "-c", script, "sh"])


@pytest.mark.parametrize(
    ("output", "closing"),
    [
        (b"..\n=== 2 passed, 1 deselected in 82.66s (0:01:22) ===\n", "2 passed, 1 deselected in 82.66s (0:01:22)"),
        (b"3 passed in 0.12s\n", "3 passed in 0.12s"),
        (b"\x1b[31m=== \x1b[1m1 failed\x1b[0m\x1b[31m in 1.50s\x1b[0m ===\x1b[0m\n", "1 failed in 1.50s"),
        (b"=== no tests ran in 0.01s ===\n", "no tests ran in 0.01s"),
        (b"== 2 passed in 1.00s ==\nlate output of a process\n", "2 passed in 1.00s"),
        (b"lab: timed out waiting for the guest to boot\n", "ended without a closing line"),
    ],
)
def test_closing_line_has_the_counts(output, closing):
    assert closing_line(output) == closing


@pytest.mark.parametrize(
    ("statuses", "chosen", "status"),
    [
        ([PASSED, PASSED], False, PASSED),
        ([PASSED, FAILED], False, FAILED),
        ([FAILED, PASSED], True, FAILED),
        ([PASSED, NONE_FOUND], False, FAILED),
        ([PASSED, NONE_FOUND], True, PASSED),
        ([NONE_FOUND, NONE_FOUND], True, FAILED),
        ([FAILED, INTERRUPTED], False, INTERRUPTED),
        ([UNUSABLE], True, UNUSABLE),
    ],
)
def test_exit_status_follows_from_those_of_the_parts(statuses, chosen, status):
    results = [Result(Part("part", "any"), status, "") for status in statuses]
    assert exit_status(results, chosen=chosen) == status


@pytest.mark.process
def test_output_of_parts_is_shown_one_after_the_other(capfdbinary):
    slow = shell("for i in 1 2 3; do echo slow $i; sleep 0.1; done; echo 3 passed in 0.30s")
    quick = shell("echo quick; echo 1 failed in 0.01s; exit 1")
    results = run(slow, quick, arguments=[])
    shown = [line for line in capfdbinary.readouterr().out.splitlines() if not line.startswith(b"tests/run:")]
    assert shown == [b"slow 1", b"slow 2", b"slow 3", b"3 passed in 0.30s", b"quick", b"1 failed in 0.01s"]
    assert [(result.status, result.closing) for result in results] == [
        (0, "3 passed in 0.30s"),
        (1, "1 failed in 0.01s"),
    ]


@pytest.mark.process
def test_part_that_is_left_early_is_interrupted():
    with Run(shell("trap 'exit 7' INT; while :; do sleep 0.1; done"), []) as part:
        time.sleep(0)
    assert part._process.returncode in {7, -signal.SIGINT}


@pytest.mark.process
@pytest.mark.parametrize(("arguments", "status"), [(["--help"], 0), (["--long", "tests/test_runner.py"], 1)])
def test_command_ends_at_once_where_there_is_nothing_to_run(arguments, status):
    done = subprocess.run(["tests/run", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == status, done.stderr
