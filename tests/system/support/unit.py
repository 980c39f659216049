"""A systemd unit, and how to run its command under its restrictions where no systemd runs.

What is in the unit decides: a setting that is not known here fails the test, so that none is left out unnoticed.
The restrictions themselves are imposed by `tests.system.support.restricted`, as root.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from actors.supervision.privileges import code_directories
from clusterf.host import capabilities
from clusterf.host.users import User, find_users
from tests.system.support import restricted

__all__ = ["ANALYZE", "UNITS", "Unit", "open_folder"]

UNITS = Path(__file__).parents[3] / "configs/systemd"
ANALYZE = shutil.which("systemd-analyze")
# they do not restrict what runs
_OF_THE_MANAGER = frozenset(
    {
        *("ExecStart", "ExecStartPre", "ExecReload", "KillMode", "TimeoutStopSec", "Restart", "RestartSec"),
        *("RuntimeDirectoryPreserve", "SyslogLevelPrefix"),
    }
)
# implied by having the directories and capabilities that a unit here has
_IMPLIED = frozenset({"PrivateMounts", "RemoveIPC", "ProtectKernelModules", "ProtectClock", "ProtectHostname"})
_TRANSLATED = frozenset(
    {
        *("User", "Group", "UMask", "StateDirectory", "StateDirectoryMode", "RuntimeDirectory", "RuntimeDirectoryMode"),
        *("AmbientCapabilities", "CapabilityBoundingSet", "RestrictAddressFamilies", "SystemCallFilter"),
        *("SystemCallErrorNumber", "SystemCallArchitectures"),
    }
)


class Unit:
    """The section [Service] of a unit; `more` is a drop-in: lines of that section."""

    def __init__(self, text: str, more: str = "") -> None:
        self._lines: list[tuple[str, str]] = []
        section = text.partition("[Service]\n")[2].partition("\n[")[0]
        for line in f"{section}\n{more}".splitlines():
            if match := re.fullmatch(r"(\w+)=(.*)", line):
                self._lines.append((match[1], match[2]))
            else:
                assert not line or line.startswith("#"), line
        known = _OF_THE_MANAGER | _IMPLIED | _TRANSLATED | restricted.SWITCHES
        assert {name for name, _ in self._lines} <= known

    @classmethod
    def read(cls, name: str, more: str = "") -> "Unit":
        return cls((UNITS / name).read_text(), more)

    def get(self, name: str) -> str | None:
        """Return the last value of a setting; None: it has none."""
        return next((value for line, value in reversed(self._lines) if line == name), None)

    def words(self, name: str) -> list[str]:
        """Return the words of all values of a setting that is a list."""
        return [word for line, value in self._lines if line == name for word in value.split()]

    @property
    def user(self) -> User:
        """The user of the unit: if it has no entry here, the one that a node would take."""
        return User(0, 0) if self.get("User") is None else find_users(None, None).node

    @property
    def capabilities(self) -> int:
        """The bounding set, as a mask."""
        return sum(1 << number for number in _numbers(self.words("CapabilityBoundingSet")))

    @property
    def system_calls(self) -> set[str]:
        """The system calls of the filter, by name; empty: there is none."""
        allowed: set[str] = set()
        for line, value in self._lines:
            if line == "SystemCallFilter":
                names = set(_expanded(value.removeprefix("~").split()))
                allowed = allowed - names if value.startswith("~") else allowed | names
        return allowed

    def make_directories(self, state: Path, runtime: Path) -> None:
        """Make its directories, and give them to its user, as systemd does before each start."""
        for path, setting in ((state, "StateDirectoryMode"), (runtime, "RuntimeDirectoryMode")):
            path.mkdir(exist_ok=True)
            path.chmod(int(self.get(setting) or "755", 8))
            found = path.stat()
            if (found.st_uid, found.st_gid) != self.user[:2]:  # else what is below stays as it is
                for entry in (path, *path.rglob("*")):
                    os.chown(entry, self.user.uid, self.user.gid, follow_symlinks=False)

    def prefix(self, place: Path) -> list[str]:
        """Return the command with `state` and `run` below `place` as its directories, which are made."""
        self.make_directories(place / "state", place / "run")
        return self.command(writable=[place / "state", place / "run"], readable=[place])

    def command(self, writable: Iterable[Path], readable: Iterable[Path]) -> list[str]:
        """Return the beginning of a command line, after which the command to be restricted follows.

        The directories must be there. Of what the unit hides, only they and the code are shown.
        """
        settings = {
            **{name: self.get(name) for name in restricted.SWITCHES},
            "umask": int(self.get("UMask") or "022", 8),
            "user": self.user[:2],
            "bounding": list(_numbers(self.words("CapabilityBoundingSet"))),
            "ambient": list(_numbers(self.words("AmbientCapabilities"))),
            "families": self.words("RestrictAddressFamilies"),
            "system_calls": sorted(self.system_calls),
            "writable": [str(path) for path in writable],
            "readable": [str(path) for path in (*readable, *_outermost([UNITS.parents[1], *code_directories()]))],
        }
        return [sys.executable, "-I", restricted.__file__, json.dumps(settings)]


@contextmanager
def open_folder() -> Iterator[Path]:
    """A new directory that all may enter, unlike those that pytest makes."""
    folder = Path(tempfile.mkdtemp(prefix="clusterf-unit-", dir="/var/tmp"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def _outermost(directories: Sequence[Path]) -> list[Path]:
    """Return those that are there and below no other one."""
    there = [path for path in directories if path.is_dir()]
    return [path for path in there if not any(parent in there for parent in path.parents)]


def _numbers(names: Iterable[str]) -> Iterator[int]:
    for name in names:
        yield getattr(capabilities, name)


def _expanded(names: Iterable[str]) -> Iterator[str]:
    """Yield the system calls of groups."""
    for name in names:
        if name.startswith("@"):
            assert ANALYZE, "systemd-analyze is missing: tests/lab/install"
            shown = subprocess.run([ANALYZE, "syscall-filter", name], capture_output=True, text=True, check=True)
            lines = [line.strip() for line in shown.stdout.splitlines()[1:]]
            yield from _expanded(line for line in lines if line and not line.startswith("#"))
        else:
            yield name
