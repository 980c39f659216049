"""The state directory, with its lock, and the runtime directory of a node.

A state directory that cannot be written keeps no node from starting: what is recorded
there is of use, but not needed, and writing is retried as long as the node runs.
"""

import errno
import logging
import os
import shutil
import tempfile
from contextlib import ExitStack
from pathlib import Path

import click

from actors.supervision.locks import lock_directory
from clusterf.host.nodes import default_runtime_directory

__all__ = ["runtime_directory", "state_directory"]

log = logging.getLogger(__name__)


def state_directory(path: Path | None, stack: ExitStack, *, noop: bool) -> tuple[Path, int | None]:
    """Return the state directory, and the descriptor of its lock; with `noop` there is no lock.

    One that cannot be written is logged, and may have no lock. Raises
    click.ClickException if another node has it.
    """
    given = path
    home = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state")
    path = (path or (Path("/var/lib") if os.geteuid() == 0 else home) / "clusterf").absolute()
    lock = None
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = None if noop else lock_directory(path, stack)
        if not os.access(path, os.W_OK):
            raise PermissionError(errno.EACCES, "not writable")
    except OSError as error:
        if given is None and noop:
            return Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="clusterf-"))), None
        log.warning("state directory %s: %s: continuing without records, retrying", path, error.strerror)
    return path, lock


def runtime_directory(path: Path | None, stack: ExitStack) -> Path:
    """Return a new directory below the runtime directory, which is removed when the node ends.

    Raises click.ClickException.
    """
    path = (path or default_runtime_directory()).absolute()
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        _sweep(path)
        return Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=f"node-{os.getpid()}-", dir=path)))
    except OSError as error:
        raise click.BadParameter(f"{path}: {error.strerror}", param_hint="'--runtime-dir'") from None


def _sweep(path: Path) -> None:
    """Remove the directories of nodes that were killed."""
    for left in path.glob("node-*-*"):
        pid = left.name.split("-")[1]
        if pid.isdigit() and not Path("/proc", pid).exists():
            shutil.rmtree(left, ignore_errors=True)
