"""The locks by which only one node writes.

What has to be exclusive is the IPVS table, and there is one for each network
namespace: its lock is the name of an abstract Unix socket, which lasts for as long
as a process has it open, and which no removed or renamed directory opens for a second
node. Two nodes in different namespaces must not share a state directory
either: each has a file `lock` in it.

Any user may bind an abstract name. A process that has it and could not write the
table is no node: it is reported, and does not keep a node from running.
"""

import errno
import fcntl
import logging
import os
import re
import socket
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Final

import click
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_fixed

from clusterf.host.capabilities import CAP_NET_ADMIN
from clusterf.lib.files.regular import look, move_aside, open_file
from clusterf.lib.files.trusted import UntrustedError
from clusterf.lib.text import escape

__all__ = ["lock_directory", "lock_table"]

log = logging.getLogger(__name__)

PATIENCE = 5.0  # seconds to wait for a lock, while another node stops
NAME: Final = "clusterf-node ipvs"  # of the abstract socket


class _Taken(Exception):
    """Another process has the lock."""


def lock_table(stack: ExitStack) -> int | None:
    """Return the descriptor of the lock on the IPVS table, which lasts until all processes that have it exit.

    None: it cannot be had, but no other node has it; logged. Raises click.ClickException if one has.
    """
    lock = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
    try:
        _patiently()(_bind, lock)
    except _Taken:
        holders = list(_holders())
        if holders and not any(map(_may_write_table, holders)):
            log.warning(
                "the IPVS table is locked by %s, which cannot write it: continuing without the lock",
                ", ".join(map(_describe, holders)),
            )
            return None
        who = ", ".join(map(_describe, holders)) or "which is not visible from here"
        raise click.ClickException(f"another clusterf-node writes this network namespace's IPVS table: {who}") from None
    except OSError as error:
        log.warning("the IPVS table cannot be locked: %s: continuing without the lock", error.strerror)
        return None
    return lock.fileno()


def lock_directory(path: Path, stack: ExitStack) -> int:
    """Return the descriptor of the lock on the state directory, which lasts until all processes that have it exit.

    Raises click.ClickException if another node has it, OSError if there can be none.
    """
    try:
        fd = _open(path / "lock")
        stack.callback(os.close, fd)
        _patiently()(_flock, fd)
    except _Taken:
        raise click.ClickException(f"another clusterf-node is running with the state directory {path}") from None
    return fd


def _open(file: Path) -> int:
    """Open the file of a lock, or a new one in place of what is no file of ours. Raises _Taken, OSError."""
    try:
        return _open_ours(file)
    except UntrustedError:
        # one node at a time, as the second one could move away the new file, which the first one has locked
        directory = os.open(file.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            _patiently()(_flock, directory)
            return _open_or_replace(file)
        finally:
            os.close(directory)


def _open_or_replace(file: Path) -> int:
    try:
        return _open_ours(file)
    except UntrustedError as error:
        log.error("state: %s: unusable: %s; moved aside as %s", file, error.strerror, move_aside(file))
        return _open_ours(file)


def _open_ours(file: Path) -> int:
    try:
        return open_file(file, os.O_WRONLY | os.O_CREAT)
    except UntrustedError:
        raise
    except OSError:
        if look(file) is None:
            raise
        return open_file(file, os.O_RDONLY)  # that of an earlier node, on a disk that is read-only now


def _patiently() -> Retrying:
    return Retrying(
        retry=retry_if_exception_type(_Taken), wait=wait_fixed(0.05), stop=stop_after_delay(PATIENCE), reraise=True
    )


def _bind(lock: socket.socket) -> None:
    try:
        lock.bind(f"\0{NAME}")
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        raise _Taken from error


def _flock(fd: int) -> None:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise _Taken from error


def _holders() -> Iterator[int]:
    """Yield the processes that have the lock on the table open, as far as they can be seen."""
    sockets = {
        f"socket:[{line.split()[6]}]"
        for line in Path("/proc/self/net/unix").read_text(errors="replace").splitlines()
        if line.endswith(f" @{NAME}")
    }
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if any(str(fd.readlink()) in sockets for fd in (process / "fd").iterdir()):
                yield int(process.name)


def _may_write_table(pid: int) -> bool:
    """Tell whether the process may write the table, as root or by its capabilities; if in doubt, it may."""
    process = Path(f"/proc/{pid}")
    try:
        found = re.search(
            r"^Uid:([^\n]*)$.*^CapPrm:\s*(\w+)$", (process / "status").read_text(), re.MULTILINE | re.DOTALL
        )
        # in a user namespace of its own, everybody has all capabilities there
        is_here = (process / "ns/user").samefile("/proc/self/ns/user")
    except FileNotFoundError:
        return False  # it has ended
    except OSError:
        return True
    if found is None or "0" in found[1].split():
        return True
    return is_here and bool(int(found[2], 16) >> CAP_NET_ADMIN & 1)


def _describe(pid: int) -> str:
    try:
        # (the name in `comm` is cut off)
        title = escape(Path(f"/proc/{pid}/cmdline").read_bytes().partition(b"\0")[0])
    except OSError:
        title = "ended"
    return f"pid {pid} ({title})"
