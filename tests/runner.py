"""Run the tests in parts: the fast ones first, then those of whole nodes, on this machine and in a guest side by side.

A guest of tests/lab has one CPU, and all of these tests mostly wait, so the parts take
hardly longer than one of them. Their output is not mixed: that of a guest is held back
until the parts before it have ended. The last lines repeat how pytest closed each part.

With CLUSTERF_TEST_HOST_KERNEL=1 the tests marked `ipvs` run in this machine's own
kernel, after the others. With CI=true a lab that cannot be installed is a failure.
"""

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple, Self

from tests import examples, shares

__all__ = ["Part", "Result", "closing_line", "exit_status", "main"]

ROOT = Path(__file__).resolve().parents[1]
PYTHON = str(ROOT / ".venv" / "bin" / "python")
LABS = ("tests.lab.etcd", "tests.lab.docker", "tests.bench.rivals")  # each installs what is missing
SLOWEST = ["--durations=10", "--durations-min=2"]
PASSED, FAILED, NONE_FOUND = 0, 1, 5  # exit statuses of pytest; with any other it was interrupted, or could not run
INTERRUPTED = 130
GRACE = 20.0  # seconds to end tidily after an interrupt
TAIL = 4096  # bytes of output, in which the closing line is found


@dataclass(frozen=True)
class Part:
    """The tests of one run of pytest."""

    name: str
    markers: str
    # processes that share the tests; 0: none but pytest itself
    workers: int = 0
    # how tests are shared out: one by one, or a module at a time, so that each module fixture is made once
    share: str = "loadscope"
    # the command that runs pytest, if it is not run directly
    within: Sequence[str] = ()

    def command(self, *arguments: str) -> list[str]:
        """Return the command line."""
        options = ["-n", str(self.workers), "--dist", self.share] if self.workers else []
        options += ["--color=yes"] if sys.stdout.isatty() else []
        return [*self.within, PYTHON, "-m", "pytest", "-m", self.markers, *options, *SLOWEST, *arguments]


def guest(seconds: int, share: str = "1/1") -> list[str]:
    """Return the start of a command line that runs the rest of it in a guest, where pytest has that share of tests."""
    lab = [PYTHON, "tests/lab/run", "--timeout", str(seconds), "--memory", "2G", "--"]
    return [*lab, "env", f"{shares.SHARE}={share}"]


CPUS = len(os.sched_getaffinity(0))
# (sets are in the same order each time, so that a seed of the simulation decides everything)
FAST = Part("fast", "fast", 2 * CPUS, "worksteal", within=("env", "PYTHONHASHSEED=0"))
HOST = Part("host", "not fast and not ipvs and not long", CPUS)
# a guest has one CPU, and its tests mostly wait: two of them take little more than half of the time
GUESTS = [Part(f"guest {share}", "ipvs and not long", within=guest(1800, share)) for share in ("1/2", "2/2")]
LONG_HOST = Part("long host", "long and not ipvs", CPUS)
LONG_GUEST = Part("long guest", "long and ipvs", within=guest(7200))


class Result(NamedTuple):
    """How a part ended: the exit status of pytest, and its closing line."""

    part: Part
    status: int
    closing: str


def closing_line(output: bytes) -> str:
    """Return the line with the counts that pytest printed last, without its frame and colours."""
    plain = re.sub(r"\x1b\[[\d;]*m", "", output.decode(errors="replace"))
    found = re.findall(r"^=* ?((?:\d+ \w+|no tests ran)\b.* in [\d.]+s\b.*?) ?=*\r?$", plain, re.MULTILINE)
    return found[-1] if found else "ended without a closing line"


def exit_status(results: Iterable[Result], *, chosen: bool) -> int:
    """Return 0 if all parts passed and tests were found: in every part, or, where some were `chosen`, in any."""
    statuses = [result.status for result in results]
    if broken := [status for status in statuses if status not in {PASSED, FAILED, NONE_FOUND}]:
        return broken[0]
    found = any if chosen else all
    passed = FAILED not in statuses and found(status != NONE_FOUND for status in statuses)
    return PASSED if passed else FAILED


class Run:
    """A part that is running. Its output is held back until `finish`; leaving the `with` early interrupts it."""

    def __init__(self, part: Part, arguments: Sequence[str]) -> None:
        self._part = part
        # a process group of its own: an interrupt at the terminal reaches it once, through us
        self._process = subprocess.Popen(
            part.command(*arguments),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            process_group=0,
        )
        self._lock = threading.Lock()
        self._shown = False
        self._held = self._tail = b""
        self._reader = threading.Thread(target=self._read, daemon=True)

    def __enter__(self) -> Self:
        self._reader.start()
        return self

    def __exit__(self, *_: object) -> None:
        for number in (signal.SIGINT, signal.SIGKILL):
            if self._process.poll() is None:
                os.killpg(self._process.pid, number)
                # a second interrupt does not wait
                with suppress(subprocess.TimeoutExpired, KeyboardInterrupt):
                    self._process.wait(GRACE)
        self._reader.join(GRACE)

    def finish(self) -> Result:
        """Show the output so far and all that follows, until the part ends."""
        say(f"{self._part.name}: -m '{self._part.markers}'")
        with self._lock:
            self._shown = True
            show(self._held)
        status = self._process.wait()
        self._reader.join(GRACE)  # a process that a test has left behind may hold the pipe for longer
        return Result(self._part, status, closing_line(self._tail))

    def _read(self) -> None:
        assert self._process.stdout
        with self._process.stdout as output:
            while data := os.read(output.fileno(), 65536):
                with self._lock:
                    self._tail = (self._tail + data)[-TAIL:]
                    if self._shown:
                        show(data)
                    else:
                        self._held += data


def show(data: bytes) -> None:
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def say(text: str) -> None:
    print(f"tests/run: {text}", flush=True)


def run(*parts: Part, arguments: Sequence[str]) -> list[Result]:
    """Run parts side by side, and show their output one after the other."""
    with ExitStack() as stack:
        runs = [stack.enter_context(Run(part, arguments)) for part in parts]
        return [each.finish() for each in runs]


def selects(part: Part, arguments: Sequence[str]) -> bool:
    """Tell whether a part has tests, without running them."""
    command = [PYTHON, "-m", "pytest", "--collect-only", "-qq", "-m", part.markers, *arguments]
    return subprocess.run(command, capture_output=True, check=False).returncode != NONE_FOUND


def install_labs() -> bool:
    """Install etcd, Docker and the programs to compare with; a test whose program is missing says so itself."""
    done = [subprocess.run([PYTHON, "-m", lab], check=False) for lab in LABS]
    return not any(each.returncode for each in done)


def kernel_is_given() -> bool:
    """Tell whether tests may write the IPVS table of this machine's own kernel."""
    given = os.environ.get("CLUSTERF_TEST_HOST_KERNEL") == "1"
    return given and os.geteuid() == 0 and Path("/proc/net/ip_vs").exists()


def guest_problem() -> str:
    """Install the guest; return why that failed, or an empty string."""
    command = ["tests/lab/install"]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if not done.returncode:
        return ""
    return (done.stdout.strip().splitlines() or ["tests/lab/install failed"])[-1]


def run_with_labs(parts: Sequence[Part], arguments: Sequence[str]) -> list[Result]:
    """Install the labs, and run parts side by side; in this machine's kernel what is for the guest, if it is given."""
    strict = os.environ.get("CI") == "true"
    if not install_labs() and strict:
        raise SystemExit("tests/run: a lab could not be installed")
    here = [part for part in parts if not part.within]
    apart = [part for part in parts if part.within]
    if apart and kernel_is_given():
        whole = replace(apart[0], name="own kernel", within=())
        return run(*here, arguments=arguments) + run(whole, arguments=arguments)
    if apart and (problem := guest_problem()):
        skipped = [Result(part, FAILED if strict else PASSED, f"did not run: {problem}") for part in apart]
        return run(*here, arguments=arguments) + skipped
    return run(*parts, arguments=arguments)


def close(results: Sequence[Result], *, chosen: bool) -> int:
    """Print how each part was closed, and return the exit status."""
    for result in results:
        say(f"{result.part.name}: {result.closing}")
    if all(result.status == NONE_FOUND for result in results):
        say("there are no such tests")
    return exit_status(results, chosen=chosen)


def run_fast(arguments: Sequence[str]) -> int:
    os.environ.setdefault(examples.PERCENT, "25")
    return close(run(FAST, arguments=arguments), chosen=bool(arguments))


def run_all(arguments: Sequence[str]) -> int:
    results = run(FAST, arguments=arguments)
    if results[0].status not in {PASSED, NONE_FOUND}:
        say("fast tests have failed: the others were not started")
    # to find out what was chosen is quicker than to boot a guest for nothing
    elif parts := [part for part in (HOST, *GUESTS) if not arguments or selects(part, arguments)]:
        results += run_with_labs(parts, arguments)
    return close(results, chosen=bool(arguments))


def run_long(arguments: Sequence[str]) -> int:
    parts = [part for part in (LONG_HOST, LONG_GUEST) if selects(part, arguments)]
    if parts:
        return close(run_with_labs(parts, arguments), chosen=bool(arguments))
    say("none of these tests is marked long" if arguments else "no test is marked long")
    return FAILED if arguments else PASSED


USAGE = """\
tests/run [--fast | --long] [PYTEST-ARGUMENT…]

All tests but the long ones; --fast: only those that start no process; --long: only
those marked `long`. Arguments choose tests as for pytest, such as tests/clusterf/lib
or -k drain; `-n 0` runs those of this machine in one process.
"""


def main() -> int:
    """Run the tests that the command line names, and return the exit status."""
    os.chdir(ROOT)
    # else each pytest, and each node that a test starts, would compile all its modules, which in a guest takes seconds
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    try:
        match sys.argv[1:]:
            case ["-h" | "--help"]:
                print(USAGE, end="")
                return 0
            case ["--fast", *arguments]:
                return run_fast(arguments)
            case ["--long", *arguments]:
                return run_long(arguments)
            case arguments:
                return run_all(arguments)
    except KeyboardInterrupt:
        say("interrupted")
        return INTERRUPTED
