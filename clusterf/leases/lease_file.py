"""The file in which a node keeps the id of its lease across restarts.

Recorded with it is where it was written: this boot of this machine, this directory, and
the engine whose containers the keys are of. With a copy of the file another node would
take over the lease of one that lives.
"""

import logging
from pathlib import Path
from typing import Annotated, NamedTuple

import msgspec

from clusterf.lib.files.regular import read_file, write_file
from clusterf.lib.files.trusted import UntrustedError, make_directory
from clusterf.lib.log_once import LogOnce

__all__ = ["NO_MACHINE", "LeaseFile", "Machine"]

log = logging.getLogger(__name__)


class Machine(NamedTuple):
    """The name of a machine, empty where it has none, and of its present boot."""

    id: str = ""
    boot: str = ""


NO_MACHINE = Machine()


class _Lease(msgspec.Struct, frozen=True):
    id: Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]
    ttl: int
    prefix: bytes
    # not by earlier versions
    place: str = ""
    machine: str = ""
    engine: str = ""


class LeaseFile:
    """The id of a lease of `ttl` seconds for keys below `prefix`, in the file `path`; None: not kept.

    A lease that was recorded with another TTL or prefix, in another directory, or on another
    machine or in another boot of it, is not taken over. `engine` is the one to be recorded with it,
    `found_engine` the one that was; empty: not known. Trouble with the file is logged.
    """

    def __init__(self, path: Path | None, ttl: int, prefix: bytes, machine: Machine = NO_MACHINE) -> None:
        self._path = path
        self._machine = machine
        self.engine = self.found_engine = ""
        self._ttl = ttl
        self._prefix = prefix
        self._complaints = LogOnce(log)
        # the lease that is to be in the file, 0: none; None: whatever is there
        self.lease: int | None = None

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
        is_ours = (lease.ttl, lease.prefix) == (self._ttl, self._prefix)
        is_here = lease.place in {"", self._place(self._path)} and lease.machine in {"", self._machine.id}
        if not (is_ours and is_here):
            return 0
        self.found_engine = lease.engine
        return lease.id

    def write(self, lease: int) -> None:
        """Record the lease; 0: none. What cannot be written is written by `keep`."""
        self.lease = lease
        self.keep()

    def keep(self) -> None:
        """Write `lease` if the file does not have it. To be called at an interval."""
        if self._path is None or self.lease is None:
            return
        try:
            make_directory(self._path.parent)
            place = self._place(self._path)
            lease = _Lease(
                self.lease, self._ttl, self._prefix, place, self._machine.id, self.engine or self.found_engine
            )
            wanted = msgspec.json.encode(lease)
            if _content(self._path) != wanted:
                write_file(self._path, wanted)
        except OSError as error:
            what = "lease file %s: not written, retrying: %s: a restart will use a new lease"
            self._complaints.log("write", what, self._path, error.strerror)
        else:
            self._complaints.end("write", "lease file %s: written", self._path)

    def _place(self, path: Path) -> str:
        """Return what tells this machine and the directory of the file from others. Raises OSError."""
        return f"{self._machine.boot} {path.parent.stat().st_ino}"


def _content(path: Path) -> bytes | None:
    """Return what is in the file, None if it is missing or none of ours. Raises OSError."""
    try:
        return read_file(path)
    except (FileNotFoundError, UntrustedError):
        return None
