"""The nodes of this machine, found by their runtime directories, and what they can be told."""

import os
import re
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

__all__ = ["Told", "confirm", "default_runtime_directory"]

_TITLE = b"clusterf-node: supervisor"
_NAME = re.compile(r"node-([1-9][0-9]{0,6})-")  # of a directory: the process that has made it


class Told(NamedTuple):
    """The process of a node; with `trouble` it could not be told."""

    pid: int
    trouble: str = ""


def default_runtime_directory() -> Path:
    """Return where nodes that this user starts have their directories, unless they are told otherwise."""
    if os.geteuid() == 0:
        return Path("/run/clusterf")
    return Path(os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()) / f"clusterf-{os.geteuid()}"


def confirm(runtime: Path) -> Iterator[Told]:
    """Tell each node in the runtime directory that what it holds may be done; yield which. Raises OSError."""
    for pid in _pids(runtime):
        try:
            if _signal(pid):
                yield Told(pid)
        except OSError as error:
            yield Told(pid, error.strerror or str(error))


def _pids(runtime: Path) -> list[int]:
    """Return the processes that the directories are named for, whatever has become of them."""
    try:
        names = [_NAME.match(path.name) for path in runtime.iterdir()]
    except FileNotFoundError:
        return []
    return sorted({int(name[1]) for name in names if name is not None})


def _signal(pid: int) -> bool:
    """Send SIGUSR2 to a node's supervisor; return False where the process is none, or ends. Raises OSError."""
    try:
        fd = os.pidfd_open(pid)  # the number may become another process's at any moment, this does not
    except ProcessLookupError:
        return False
    try:
        if not _is_supervisor(pid):
            return False
        signal.pidfd_send_signal(fd, signal.SIGUSR2)
    except (FileNotFoundError, ProcessLookupError):
        return False
    finally:
        os.close(fd)
    return True


def _is_supervisor(pid: int) -> bool:
    """Tell whether a process has a supervisor's title, and catches the signal, which else would end it."""
    if not Path(f"/proc/{pid}/cmdline").read_bytes().startswith(_TITLE):
        return False
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return bool(int(status["SigCgt"], 16) >> (signal.SIGUSR2 - 1) & 1)
