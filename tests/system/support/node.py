"""A real clusterf-node in the network namespace of the test that starts it, and what ipvsadm says of the kernel there.

A start costs more than a second in the lab's kernel, so tests share a node, or
run it with `--once`, where that shows the same.
"""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from tests.system.support.netns import network_namespace
from tests.waiting import wait_until

__all__ = ["PATIENCE", "Node", "Tree", "ipvsadm", "replayed", "saved", "table"]

NODE = Path(sys.executable).with_name("clusterf-node")
PATIENCE = 30.0  # seconds for a daemon whose start alone takes some in the lab's kernel
LOG_SHOWN = 5000  # characters of the log's end that a failure shows


@dataclass(frozen=True)
class Tree:
    """A configuration as files."""

    folder: Path

    @property
    def url(self) -> str:
        return f"file://{self.folder}"

    def put(self, key: str, value: Mapping[str, Any]) -> None:
        """Write a key's file at once, so that no reader sees half of it."""
        self.put_text(key, json.dumps(value))

    def put_text(self, key: str, text: str) -> None:
        """Write a key's file at once, whatever is in it."""
        path = self.folder / key
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = self.folder.with_suffix(".draft")
        draft.write_text(text)
        draft.replace(path)

    def remove(self, key: str) -> None:
        """Remove a key's file, or a directory with all below it."""
        path = self.folder / key
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()

    def clear(self) -> None:
        """Remove all that is in the tree."""
        self.folder.mkdir(exist_ok=True)
        for path in self.folder.iterdir():
            self.remove(path.name)

    def service(self, name: str, frontend: Mapping[str, Any], **backends: Mapping[str, Any]) -> None:
        """Write a service's frontend and backends."""
        self.put(f"services/{name}/frontend", frontend)
        for backend, value in backends.items():
            self.put(f"services/{name}/backends/{backend}", value)


def table(text: str) -> list[str]:
    """Return the lines of a table, sorted bytewise."""
    return sorted(line.strip() for line in text.strip().splitlines())


def ipvsadm(*arguments: str, stdin: str | None = None) -> str:
    """Run ipvsadm in this network namespace, and return what it prints."""
    done = subprocess.run(["ipvsadm", *arguments], input=stdin, capture_output=True, text=True, check=False)
    assert not done.returncode, f"ipvsadm {' '.join(arguments)}: {done.stderr}"
    assert not done.stderr, f"ipvsadm {' '.join(arguments)}: {done.stderr}"
    return done.stdout


def saved() -> list[str]:
    """Return the kernel's table of this network namespace, sorted bytewise."""
    return table(ipvsadm("-Sn"))


def replayed(commands: Iterable[str]) -> list[str]:
    """Return the table to which commands, or lines of a saved table, lead in a fresh network namespace."""
    text = "".join(f"{command.removeprefix('ipvsadm ')}\n" for command in commands)
    with network_namespace():
        ipvsadm("-R", stdin=text)
        return saved()


class Node:
    """A clusterf-node with the role ipvs, which runs until the `with` ends.

    Its state outlasts it, for the next one on the same folder. When the `with`
    ends well, it must end at once, with status 0 and without a traceback.
    """

    def __init__(
        self,
        folder: Path,
        *trees: Tree,
        flags: Sequence[str] = (),
        through: Sequence[str] = (),
        command: Sequence[str] = (str(NODE),),
    ) -> None:
        self._log = folder / "log"
        self._printed = folder / "printed"
        # where in the log that begins which is looked at
        self._since = 0
        self.state = folder / "state"
        sources = [word for tree in trees for word in ("--config-source", tree.url)]
        self._command = [*through, *command, "--role", "ipvs", "--print", *sources]
        self._command += ["--state-dir", str(self.state), "--runtime-dir", str(folder / "run"), *flags]
        self._process: subprocess.Popen[bytes]

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        status = self.stop()
        if kind is None:
            assert status == 0, self.log
            assert "Traceback" not in self.log, self.log

    def start(self, *flags: str) -> None:
        """Start it, perhaps with more flags, with an empty log."""
        self._since = 0
        with self._log.open("wb") as log, self._printed.open("wb") as printed:
            self._process = subprocess.Popen([*self._command, *flags], stdout=printed, stderr=log)

    def stop(self) -> int:
        """End it with SIGTERM, and return its exit status."""
        self._process.terminate()
        return self.wait()

    def wait(self) -> int:
        """Wait until it ends by itself, and return its exit status."""
        try:
            return self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise

    def once(self, *flags: str) -> int:
        """Run it with `--once`, and return its exit status."""
        self.start("--once", *flags)
        status = self.wait()
        assert "Traceback" not in self.log, self.log
        return status

    def send(self, number: int) -> None:
        """Send the supervisor a signal."""
        self._process.send_signal(number)

    def crash(self) -> None:
        """Kill the supervisor, and wait until its children have left by themselves."""
        children = list(self.children().values())
        self._process.kill()
        self._process.wait()
        wait_until(lambda: not any(map(_command_line, children)), PATIENCE)

    def children(self) -> dict[str, int]:
        """Return the pids of the child processes that have begun, by name."""
        pid = self._process.pid
        pids = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        titles = {int(child): re.fullmatch(r"clusterf-node: (\w+)", _command_line(int(child))) for child in pids}
        return {title[1]: child for child, title in titles.items() if title}

    def kill(self, *names: str, number: int = signal.SIGKILL) -> None:
        """Kill child processes, once all of them are there."""
        wait_until(lambda: self.children().keys() >= set(names), PATIENCE)
        children = self.children()
        for name in names:
            os.kill(children[name], number)

    @property
    def pid(self) -> int:
        """The process of the supervisor."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return self._process.poll() is None

    def forget(self) -> None:
        """Begin the log anew, for the one who looks at it."""
        self._since += len(self.log)

    @property
    def log(self) -> str:
        """What it has logged since the start, or since `forget`."""
        return self._log.read_text()[self._since :]

    @property
    def operations(self) -> list[str]:
        """The operations in the log, as ipvsadm commands."""
        return re.findall(r"^ipvs(?: noop)?: (ipvsadm .*)$", self.log, re.MULTILINE)

    @property
    def tables(self) -> list[list[str]]:
        """All tables that it has printed since the start; what is being printed is left out."""
        tables: list[list[str]] = [[]]
        for line in self._printed.read_text().splitlines():
            if line:
                tables[-1].append(line)
            else:
                tables.append([])
        return tables[:-1]

    @property
    def only_table(self) -> list[str]:
        """What it has printed with `--once`."""
        return self._printed.read_text().splitlines()

    def wait_for(self, condition: Callable[[], object]) -> None:
        """Wait until the condition holds."""
        with self.explained():
            wait_until(lambda: self._running() and condition(), PATIENCE)

    def wait_for_log(self, pattern: str, count: int = 1) -> None:
        """Wait until that many lines in the log contain the pattern."""
        self.wait_for(lambda: len(re.findall(pattern, self.log, re.MULTILINE)) >= count)

    def wait_for_table(self, expected: str | Sequence[str]) -> None:
        """Wait until the node prints that table; it must be the kernel's then."""
        lines = table(expected) if isinstance(expected, str) else sorted(expected)
        with self.explained():
            wait_until(lambda: self._running() and self.tables[-1:] == [lines], PATIENCE)
            assert saved() == lines

    def wait_for_kernel(self, expected: str | Sequence[str]) -> None:
        """Wait until the kernel has that table, whatever the node prints."""
        lines = table(expected) if isinstance(expected, str) else sorted(expected)
        with self.explained():
            wait_until(lambda: self._running() and saved() == lines, PATIENCE)

    @contextlib.contextmanager
    def explained(self) -> Iterator[None]:
        """Add to a failure what the node has said."""
        try:
            yield
        except AssertionError as error:
            error.add_note(f"the node printed last: {self.tables[-1:]}\nit logged:\n{self.log[-LOG_SHOWN:]}")
            raise

    def _running(self) -> bool:
        assert self.running, "clusterf-node has ended"
        return True


def _command_line(pid: int) -> str:
    """Return the title of a process, empty if it is gone or a zombie."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").replace(b"\0", b" ").decode()
    except (FileNotFoundError, ProcessLookupError):
        return ""
