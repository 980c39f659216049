"""The state directory, with its lock, and the runtime directory of a node.

The holder of the lock may write to the kernel, and in etcd on the lease that
is recorded in the directory. The director and the docker process hold it, too:
if the supervisor is killed, the next node waits until the last writer is gone.
"""

import fcntl
import os
import shutil
import tempfile
from contextlib import ExitStack
from pathlib import Path

import click
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_fixed

from clusterf.host.nodes import default_runtime_directory

__all__ = ["runtime_directory", "state_directory"]

PATIENCE = 5.0  # seconds to wait for the lock, while another node stops


def state_directory(path: Path | None, stack: ExitStack, *, noop: bool) -> tuple[Path, int | None]:
    """Return the state directory, and the descriptor of its lock; with `noop` there is no lock.

    Raises click.ClickException.
    """
    given = path
    home = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state")
    path = (path or (Path("/var/lib") if os.geteuid() == 0 else home) / "clusterf").absolute()
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not os.access(path, os.W_OK):
            raise PermissionError(13, "not writable")
    except OSError as error:
        if given is None and noop:
            return Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="clusterf-"))), None
        raise click.BadParameter(f"{path}: {error.strerror}", param_hint="'--state-dir'") from None
    return path, None if noop else _lock(path, stack)


def _lock(path: Path, stack: ExitStack) -> int:
    """Return the descriptor of the lock on the state directory, which lasts until all processes that have it exit."""
    patiently = Retrying(
        retry=retry_if_exception_type(BlockingIOError),
        wait=wait_fixed(0.05),
        stop=stop_after_delay(PATIENCE),
        reraise=True,
    )
    try:
        lock = stack.enter_context((path / "lock").open("w"))
        patiently(fcntl.flock, lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise click.ClickException(f"another clusterf-node is running with the state directory {path}") from None
    except OSError as error:
        raise click.BadParameter(f"{path}/lock: {error.strerror}", param_hint="'--state-dir'") from None
    return lock.fileno()


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
