"""The node under test as a service manager runs it: started again when it ends, its log read line by line."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Self

from tests.soak.history import Recorder

__all__ = ["HOLD", "RESYNC", "STUCK", "Node", "commands", "director", "send"]

PROGRAM = Path(sys.executable).with_name("clusterf-node")
STUCK = 3.0  # seconds: its --stuck-timeout
RESYNC = 5.0  # seconds: its --resync-interval
HOLD = 20.0  # seconds: its --removal-hold
RESTART = 1.0  # seconds until it is started again
PATIENCE = 60.0  # seconds for it to stop


def director(urls: Sequence[str]) -> list[str]:
    """Return the flags of a director with these sources."""
    sources = [word for url in urls for word in ("--config-source", url)]
    hasty = ["--resync-interval", str(RESYNC), "--stuck-timeout", str(STUCK), "--removal-hold", str(HOLD)]
    return ["--role", "ipvs", *sources, *hasty]


class Node:
    """A clusterf-node with some flags, kept running until the `with` ends; `more` are those from the next start on."""

    def __init__(self, recorder: Recorder, flags: Sequence[str], state: Path, runtime: Path) -> None:
        self._recorder = recorder
        self.state = state
        self.runtime = runtime
        self.more: list[str] = []
        self._command = [str(PROGRAM), *flags, "--state-dir", str(state), "--runtime-dir", str(runtime)]
        self._process: subprocess.Popen[bytes]
        self._enough = threading.Event()
        self._expected = False
        self._startable = threading.Event()
        self._startable.set()
        self._keeper = threading.Thread(target=self._keep)

    def __enter__(self) -> Self:
        self._start()
        self._keeper.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._enough.set()
        self.send(signal.SIGCONT)
        self.resume_children()
        self.send(signal.SIGTERM)
        self._keeper.join(PATIENCE)
        self.send(signal.SIGKILL)
        self._keeper.join()

    @property
    def pid(self) -> int:
        """The supervisor's, 0 while it does not run."""
        process = self._process
        return process.pid if process.poll() is None else 0

    def children(self) -> dict[str, int]:
        """Return the pids of the child processes that have begun, by name."""
        with contextlib.suppress(OSError):
            pids = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
            found = {re.fullmatch(r"clusterf-node: (\w+)", _title(int(pid))): int(pid) for pid in pids}
            return {match[1]: pid for match, pid in found.items() if match}
        return {}

    def send(self, number: int) -> None:
        """Send the supervisor a signal, if it runs."""
        if pid := self.pid:
            send(pid, number)

    def resume_children(self) -> None:
        """Continue children that were stopped."""
        for pid in self.children().values():
            send(pid, signal.SIGCONT)

    def restart(self, number: int = signal.SIGTERM) -> None:
        """End it with a signal, and start it again at once."""
        with self.stopped(number):
            pass

    @contextlib.contextmanager
    def stopped(self, number: int = signal.SIGTERM) -> Iterator[None]:
        """Have it ended, by a signal, until the `with` ends."""
        process = self._process
        self._startable.clear()
        self._expected = True
        try:
            self.send(number)
            self._end(process)
            yield
        finally:
            self._startable.set()
            while self._process is process:
                time.sleep(0.01)
            self._expected = False

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._recorder.action(time.monotonic(), "exit", "none", f"not stopped within {PATIENCE} s")
            self._recorder.logged(f"soak: the node does not stop within {PATIENCE} s, killing it")
            process.kill()
            process.wait()

    def _start(self) -> None:
        self._process = subprocess.Popen(
            [*self._command, *self.more], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL
        )
        threading.Thread(target=self._read, args=(self._process,), daemon=True).start()

    def _keep(self) -> None:
        while True:
            status = self._process.wait()
            begin, expected = time.monotonic(), self._expected
            self._recorder.logged(f"soak: the node ended with status {status}")
            if not expected and self._enough.wait(RESTART):
                return
            self._startable.wait()
            if self._enough.is_set():
                return
            self._start()
            if not expected:
                self._recorder.action(begin, "exit", str(status), self._reason())

    def _reason(self) -> str:
        """Return why the node has ended, from the end of its log."""
        last = [line.text for line in self._recorder.history.log[-20:]]
        return "gave up" if any("giving up" in line for line in last) else " | ".join(last[-3:])

    def _read(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stderr is not None
        with process.stderr as lines:
            for line in lines:
                self._recorder.logged(line.decode(errors="replace").rstrip())


def send(pid: int, number: int) -> None:
    """Send a signal to a process, if it is there."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _title(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").replace(b"\0", b" ").decode()
    return ""


def commands(lines: Sequence[str]) -> list[str]:
    """Return the operations among lines of the log."""
    return [line for line in lines if line.startswith("ipvs: ipvsadm ")]
