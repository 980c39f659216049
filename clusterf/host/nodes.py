"""The nodes of this machine, found by their runtime directories, and the signal that confirms what they hold."""

import os
import re
import signal
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

__all__ = ["Confirmation", "confirm_nodes", "default_runtime_directory", "runtime_directories"]

_TITLE = b"clusterf-node: supervisor"
_NAME = re.compile(r"node-([1-9][0-9]{0,6})-")  # of a directory: the process that created it


class Confirmation(NamedTuple):
    """A node that was sent the confirmation, by its process; `error` is why it could not be sent, "" if it was."""

    pid: int
    error: str = ""


def default_runtime_directory() -> Path:
    """Return where a node has its runtime directory without `--runtime-dir`: where systemd made one for its unit."""
    if unit := os.environ.get("RUNTIME_DIRECTORY"):
        return Path(unit.split(":")[0])
    if _is_root():
        return Path("/run/clusterf")
    return Path(os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()) / f"clusterf-{os.geteuid()}"


def runtime_directories() -> list[Path]:
    """Return where the nodes of this user have their runtime directories, those of units `clusterf-…` included."""
    default = default_runtime_directory()
    return [
        default,
        *(sorted(path for path in Path("/run").glob("clusterf-*") if path != default) if _is_root() else []),
    ]


def confirm_nodes(runtimes: Iterable[Path]) -> Iterator[Confirmation]:
    """Have each node in the runtime directories carry out the removals that it holds. Raises OSError."""
    for pid in sorted({pid for runtime in runtimes for pid in _pids(runtime)}):
        try:
            if _signal(pid):
                yield Confirmation(pid)
        except OSError as error:
            yield Confirmation(pid, error.strerror or str(error))


def _is_root() -> bool:
    return os.geteuid() == 0


def _pids(runtime: Path) -> set[int]:
    """Return the processes that the directories are named for, whether they run or not."""
    try:
        names = [_NAME.match(path.name) for path in runtime.iterdir()]
    except FileNotFoundError:
        return set()
    return {int(name[1]) for name in names if name is not None}


def _signal(pid: int) -> bool:
    """Send SIGUSR2 to a node's supervisor; return False if the process is none, or has ended. Raises OSError."""
    try:
        fd = os.pidfd_open(pid)  # unlike the number, which may be reused at any moment
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
    """Tell whether a process has a supervisor's title, and handles the signal, which would end it otherwise."""
    if not Path(f"/proc/{pid}/cmdline").read_bytes().startswith(_TITLE):
        return False
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return bool(int(status["SigCgt"], 16) >> (signal.SIGUSR2 - 1) & 1)
