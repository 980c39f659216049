"""The nodes of this machine, found by their runtime directories, and the signal that confirms what they hold."""

import os
import re
import signal
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from clusterf.lib.files.trusted import check_directory

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
    name = f"clusterf-{os.geteuid()}"
    if user := os.environ.get("XDG_RUNTIME_DIR"):
        return Path(user, name)
    first = Path(tempfile.gettempdir(), name)
    # another user may have taken the name; the node has made another directory then
    return next((path for path in (first, *_like(first)) if _is_free(path)), first)


def runtime_directories() -> list[Path]:
    """Return where the nodes of this user have their runtime directories, those of units `clusterf-…` included."""
    default = default_runtime_directory()
    return [
        default,
        *(sorted(path for path in Path("/run").glob("clusterf-*") if path != default) if _is_root() else []),
    ]


def confirm_nodes(runtimes: Iterable[Path]) -> Iterator[Confirmation]:
    """Have each node in the runtime directories carry out the removals that it holds.

    A directory names a process of the user who made it only: others are not signalled for
    it. Raises OSError, and UntrustedError if others than that user may write to one.
    """
    for pid, user in sorted({named for runtime in runtimes for named in _named(runtime)}):
        try:
            if _signal(pid, user):
                yield Confirmation(pid)
        except OSError as error:
            yield Confirmation(pid, error.strerror or str(error))


class _Named(NamedTuple):
    """A process, and the user who says that it is a node's supervisor."""

    pid: int
    user: int


def _is_root() -> bool:
    return os.geteuid() == 0


def _like(first: Path) -> list[Path]:
    return sorted(first.parent.glob(f"{first.name}-*"))


def _is_free(path: Path) -> bool:
    """Tell whether a directory can be used, or made."""
    try:
        check_directory(path)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def _named(runtime: Path) -> Iterator[_Named]:
    """Yield the processes that the directories of nodes are named for, whether they run or not. Raises OSError."""
    try:
        # (the node may be that of another user)
        check_directory(runtime, also=[runtime.stat().st_uid])
        for path in runtime.iterdir():
            if name := _NAME.match(path.name):
                yield _Named(int(name[1]), path.lstat().st_uid)
    except FileNotFoundError:
        return


def _signal(pid: int, user: int) -> bool:
    """Send SIGUSR2 to a node's supervisor; return False if the process is none of that user, or has ended.

    Raises OSError.
    """
    try:
        fd = os.pidfd_open(pid)  # unlike the number, which may be reused at any moment
    except ProcessLookupError:
        return False
    try:
        if not _is_supervisor(pid, user):
            return False
        signal.pidfd_send_signal(fd, signal.SIGUSR2)
    except (FileNotFoundError, ProcessLookupError):
        return False
    finally:
        os.close(fd)
    return True


def _is_supervisor(pid: int, user: int) -> bool:
    """Tell whether a process of that user has a supervisor's title, and handles the signal, which would end it."""
    if not Path(f"/proc/{pid}/cmdline").read_bytes().startswith(_TITLE):
        return False
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    if {int(uid) for uid in status["Uid"].split()} != {user}:
        return False
    return bool(int(status["SigCgt"], 16) >> (signal.SIGUSR2 - 1) & 1)
