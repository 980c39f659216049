"""The real `clusterf-node` as a process, on a small tree."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.waiting import wait_until

__all__ = ["COMMAND", "NodeProcess"]

COMMAND = [sys.executable, "-P", "-m", "actors.entry"]


def title_of(pid: str) -> str:
    """Return the title of a process, empty if it has ended."""
    try:
        return Path("/proc", pid, "cmdline").read_bytes().rstrip(b"\0").decode()
    except (FileNotFoundError, ProcessLookupError):
        return ""


class NodeProcess:
    """A node with directories of its own below `place`; its output goes to files there."""

    def __init__(self, place: Path, *flags, **environment):
        self.out, self.err = place / "out", place / "err"
        with self.out.open("w") as out, self.err.open("w") as err:
            self.process = subprocess.Popen(
                [*COMMAND, *map(str, flags)],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env=os.environ | {"PYTHONUNBUFFERED": ""} | environment,
            )

    def tables(self):
        return self.out.read_text().split("\n\n")[:-1]

    def log(self):
        return self.err.read_text()

    def logged(self, text, timeout=10.0):
        wait_until(lambda: text in self.log(), timeout)

    def children(self):
        """Return the children's pids by their names."""
        pid = self.process.pid
        pids = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        titles = {child: title_of(child) for child in pids}
        return {title.removeprefix("clusterf-node: "): int(child) for child, title in titles.items() if ": " in title}

    def child(self, name, *, other_than=0):
        return wait_until(lambda: (pid := self.children().get(name, 0)) != other_than and pid)

    def end(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        return self.process.wait(20)
