"""A `clusterf-node` that is measured: its log, its processes, and what these use."""

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NamedTuple

__all__ = ["Memory", "Node", "command", "running"]

PAUSE = 3600  # seconds between looks at all that is there: none falls into a measurement
_PSS = re.compile(r"^Pss:\s+(\d+) kB", re.MULTILINE)
_RSS = re.compile(r"^Rss:\s+(\d+) kB", re.MULTILINE)


class Memory(NamedTuple):
    """Resident memory in kB: shared pages by their share, and counted in every process."""

    pss: int
    rss: int


class Node:
    """A running node, whose log is read here."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        assert process.stderr is not None
        self._log: IO[str] = process.stderr

    def wait_for(self, text: str) -> None:
        """Read the log to the next line that holds `text`."""
        for line in self._log:
            if text in line:
                return
        raise EOFError(f"the node ended with {self._process.wait()}, and never said {text!r}")

    def processes(self) -> list[int]:
        """Return the process ids of the supervisor and its children."""
        own = self._process.pid
        return [own, *map(int, Path(f"/proc/{own}/task/{own}/children").read_text().split())]

    def memory(self) -> dict[str, Memory]:
        """Return what each process has, by its name."""
        return {_name(pid): _memory(pid) for pid in self.processes()}

    def cpu(self) -> float:
        """Return the seconds of CPU time that the threads which are alive have had."""
        return sum(map(_cpu, self.processes()))


def command(tree: Path, state: Path, *flags: str) -> list[str]:
    """Return the command of a node on `tree`, with its own directories below `state`."""
    return [
        str(Path(sys.executable).with_name("clusterf-node")),
        *("--role", "ipvs", "--config-source", tree.as_uri(), "--resync-interval", str(PAUSE)),
        *("--state-dir", str(state / "state"), "--runtime-dir", str(state / "runtime")),
        *flags,
    ]


@contextmanager
def running(arguments: list[str]) -> Iterator[Node]:
    """Run a node for a while."""
    process = subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True)
    try:
        yield Node(process)
    finally:
        process.terminate()
        process.communicate()


def _name(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_bytes().strip(b"\0").decode().rpartition(": ")[2]


def _memory(pid: int) -> Memory:
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return Memory(*(int(found[1]) for pattern in (_PSS, _RSS) if (found := pattern.search(rollup))))


def _cpu(pid: int) -> float:
    """Return the CPU time by the scheduler's own count: utime and stime come in steps of 10 ms."""
    return sum(int(path.read_text().split()[0]) for path in Path(f"/proc/{pid}/task").glob("*/schedstat")) / 1e9
