"""A measured `clusterf-node`: its log, its processes, their memory and CPU time."""

import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import IO, NamedTuple

__all__ = ["Lines", "Memory", "Node", "command", "cpu_of", "running"]

PATIENCE = 120  # seconds until a line is logged
PAUSE = 3600  # seconds between full reads: longer than any measurement
_PSS = re.compile(r"^Pss:\s+(\d+) kB", re.MULTILINE)
_RSS = re.compile(r"^Rss:\s+(\d+) kB", re.MULTILINE)


class Memory(NamedTuple):
    """Resident memory in kB: with shared pages divided among processes, and counted in each."""

    pss: int
    rss: int


class Lines:
    """The output of a process, read by a thread, and the time of each line, by `time.perf_counter`."""

    def __init__(self, stream: IO[str]) -> None:
        self._queue: SimpleQueue[tuple[float, str]] = SimpleQueue()
        self._stream = stream
        threading.Thread(target=self._read, daemon=True).start()

    def wait_for(self, text: str) -> float:
        """Skip to the next line that contains `text`, and return its time."""
        while True:
            came, line = self._queue.get(timeout=PATIENCE)
            if text in line:
                return came
            if not line:
                raise EOFError(f"the process ended and did not log {text!r}")

    def until_quiet(self, seconds: float) -> Iterator[tuple[float, str]]:
        """Yield the lines until none comes for `seconds`."""
        while True:
            try:
                yield self._queue.get(timeout=seconds)
            except Empty:
                return

    def _read(self) -> None:
        with self._stream:
            for line in self._stream:
                self._queue.put((time.perf_counter(), line))
        self._queue.put((time.perf_counter(), ""))


class Node:
    """A running node, and its log."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        assert process.stderr is not None
        self.log = Lines(process.stderr)

    def processes(self) -> list[int]:
        """Return the process ids of the supervisor and its children."""
        own = self._process.pid
        return [own, *map(int, Path(f"/proc/{own}/task/{own}/children").read_text().split())]

    def process(self, name: str) -> int:
        """Return the process id of a child."""
        return next(pid for pid in self.processes() if _name(pid) == name)

    def memory(self) -> dict[str, Memory]:
        """Return the memory of each process, by name."""
        return {_name(pid): _memory(pid) for pid in self.processes()}

    def cpu(self) -> float:
        """Return the CPU seconds of the processes that are alive."""
        return sum(map(cpu_of, self.processes()))


def command(source: str, state: Path, *flags: str) -> list[str]:
    """Return the command of a node with that source, and with its directories below `state`."""
    return [
        str(Path(sys.executable).with_name("clusterf-node")),
        *("--role", "ipvs", "--config-source", source, "--resync-interval", str(PAUSE)),
        *("--state-dir", str(state / "state"), "--runtime-dir", str(state / "runtime")),
        *flags,
    ]


@contextmanager
def running(arguments: list[str]) -> Iterator[Node]:
    """Run a node."""
    process = subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True)
    try:
        yield Node(process)
    finally:
        process.terminate()
        process.wait()


def cpu_of(pid: int) -> float:
    """Return the CPU seconds of a process, all threads: the clock of clock_getcpuclockid(3)."""
    return time.clock_gettime(~pid << 3 | 2)


def _name(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_bytes().strip(b"\0").decode().rpartition(": ")[2]


def _memory(pid: int) -> Memory:
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return Memory(*(int(found[1]) for pattern in (_PSS, _RSS) if (found := pattern.search(rollup))))
