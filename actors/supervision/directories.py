"""The state directory, with its lock, and the runtime directory of a node.

A state directory that cannot be written keeps no node from starting: what is recorded
there is of use, but not needed, and writing is retried as long as the node runs.
"""

import errno
import logging
import os
import shlex
import stat
import tempfile
from contextlib import ExitStack
from pathlib import Path

import click

from actors.supervision.locks import lock_directory
from clusterf.host.nodes import default_runtime_directory
from clusterf.lib.files.trusted import (
    UntrustedError,
    check_directory,
    check_root_decides,
    describe_user,
    make_directory,
    owners,
)

__all__ = ["runtime_directory", "runtime_path", "state_directory", "state_path"]

log = logging.getLogger(__name__)


def state_path(path: Path | None) -> Path:
    """Return where the state directory is, if `--state-dir` is `path`."""
    home = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state")
    return (path or (Path("/var/lib") if os.geteuid() == 0 else home) / "clusterf").absolute()


def runtime_path(path: Path | None) -> Path:
    """Return where the runtime directory is, if `--runtime-dir` is `path`."""
    return (path or default_runtime_directory()).absolute()


def state_directory(path: Path | None, stack: ExitStack, *, noop: bool) -> tuple[Path, int | None]:
    """Return the state directory, and the descriptor of its lock; with `noop` there is no lock.

    One that cannot be written is logged, and may have no lock. Raises
    click.ClickException if another node has it, or if others may replace it.
    """
    given = path
    path = state_path(path)
    lock = None
    try:
        _make(path, "'--state-dir'")
        lock = None if noop else lock_directory(path, stack)
        if not os.access(path, os.W_OK):
            raise PermissionError(errno.EACCES, f"not writable{_owned(path)}")
    except OSError as error:
        if given is None and noop:
            path = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="clusterf-")))
            path.chmod(0o711)  # for processes of other users, which are to find that there is nothing
            return path, None
        log.warning("state directory %s: %s: continuing without records, retrying", path, error.strerror)
    return path, lock


def _owned(path: Path) -> str:
    """Return what to do about a directory of another user, which a node with more capabilities has given away."""
    uid, own = path.stat().st_uid, os.geteuid()
    return "" if uid == own else f", owned by user {describe_user(uid)}: chown -R {own}: {shlex.quote(str(path))}"


def runtime_directory(path: Path | None, stack: ExitStack) -> Path:
    """Return a new directory below the runtime directory, which is removed when the node ends.

    Raises click.ClickException.
    """
    given = path
    path = runtime_path(path)
    try:
        if given is None and path.parent == Path(tempfile.gettempdir()):
            path = _in_temporary(path)
        _make(path, "'--runtime-dir'")
        if os.geteuid() == 0:
            # root makes and removes what is in it, as long as the node runs
            check_root_decides(path)
        _sweep(path)
        return Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=f"node-{os.getpid()}-", dir=path)))
    except UntrustedError as error:
        raise click.BadParameter(str(error.strerror), param_hint="'--runtime-dir'") from None
    except OSError as error:
        raise click.BadParameter(f"{path}: {error.strerror}", param_hint="'--runtime-dir'") from None


def _make(path: Path, flag: str) -> None:
    """Make the directory unless it is there. Raises click.BadParameter if others may replace it, OSError."""
    try:
        make_directory(path)
    except UntrustedError as error:
        raise click.BadParameter(str(error.strerror), param_hint=flag) from None


def _in_temporary(path: Path) -> Path:
    """Return `path`, or a new directory beside it if others, who may all write there, took the name. Raises OSError."""
    try:
        make_directory(path)
    except UntrustedError as error:
        check_directory(path.parent, shared=True)
        other = Path(tempfile.mkdtemp(prefix=f"{path.name}-", dir=path.parent))
        log.warning("runtime directory %s: %s, using %s", path, error.reason, other)
        return other
    return path


def _sweep(path: Path) -> None:
    """Remove the directories of nodes that were killed, but nothing that others made there."""
    for left in path.glob("node-*-*"):
        pid = left.name.split("-")[1]
        if pid.isdigit() and not Path("/proc", pid).exists():
            _remove(left)


def _remove(directory: Path) -> None:
    """Remove a directory of ours, and the sockets that earlier versions had in it."""
    try:
        found = os.lstat(directory)
        if not stat.S_ISDIR(found.st_mode) or found.st_uid not in owners():
            return
        for file in directory.iterdir():
            file.unlink()
        directory.rmdir()
    except OSError as error:
        log.debug("runtime directory %s: not removed: %s", directory, error)
