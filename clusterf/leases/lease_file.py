"""The file in which a node keeps the id of its lease across restarts.

Recorded with it is where it was written: this boot of this machine, and this
directory. With a copy of the file another node would take over the lease of one that
lives, and delete its keys.
"""

import logging
from pathlib import Path
from typing import Annotated

import msgspec

from clusterf.lib.files.regular import read_file, write_file
from clusterf.lib.files.trusted import UntrustedError, make_directory
from clusterf.lib.log_once import LogOnce

__all__ = ["LeaseFile"]

log = logging.getLogger(__name__)


class _Lease(msgspec.Struct, frozen=True):
    id: Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]
    ttl: int
    prefix: bytes
    place: str = ""  # by an earlier version


class LeaseFile:
    """The id of a lease of `ttl` seconds for keys below `prefix`, in the file `path`; None: not kept.

    A lease that was recorded with another TTL or prefix, in another directory, or with
    another `machine` (a name that a machine has during one boot) is not taken over.
    Trouble with the file is logged.
    """

    def __init__(self, path: Path | None, ttl: int, prefix: bytes, machine: str = "") -> None:
        self._path = path
        self._machine = machine
        self._ttl = ttl
        self._prefix = prefix
        self._complaints = LogOnce(log)
        # the lease that is to be in the file; None: whatever is there
        self._lease: int | None = None

    def read(self) -> int:
        """Return the recorded lease; 0: none."""
        if self._path is None:
            return 0
        try:
            lease = msgspec.json.decode(read_file(self._path), type=_Lease)
        except FileNotFoundError:
            return 0
        except (OSError, ValueError, RecursionError, msgspec.DecodeError) as error:
            log.warning("lease file %s: invalid: %s (ignored): using a new lease", self._path, error)
            return 0
        is_ours = (lease.ttl, lease.prefix) == (self._ttl, self._prefix) and lease.place in {
            "",
            self._place(self._path),
        }
        return lease.id if is_ours else 0

    def write(self, lease: int) -> None:
        """Record the lease; 0: none. What cannot be written is written by `keep`."""
        self._lease = lease
        self.keep()

    def keep(self) -> None:
        """Write the lease if the file does not have it. To be called at an interval."""
        if self._path is None or self._lease is None:
            return
        try:
            make_directory(self._path.parent)
            wanted = msgspec.json.encode(_Lease(self._lease, self._ttl, self._prefix, self._place(self._path)))
            if _content(self._path) != wanted:
                write_file(self._path, wanted)
        except OSError as error:
            what = "lease file %s: not written, retrying: %s: a restart will use a new lease"
            self._complaints.log("write", what, self._path, error.strerror)
        else:
            self._complaints.end("write", "lease file %s: written", self._path)

    def _place(self, path: Path) -> str:
        """Return what tells this machine and the directory of the file from others. Raises OSError."""
        return f"{self._machine} {path.parent.stat().st_ino}"


def _content(path: Path) -> bytes | None:
    """Return what is in the file, None if it is missing or none of ours. Raises OSError."""
    try:
        return read_file(path)
    except (FileNotFoundError, UntrustedError):
        return None
