"""The file in which a node keeps the id of its lease across restarts."""

import logging
from pathlib import Path
from typing import Annotated

import msgspec

__all__ = ["LeaseFile"]

log = logging.getLogger(__name__)


class _Lease(msgspec.Struct, frozen=True):
    id: Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]
    ttl: int
    prefix: bytes


class LeaseFile:
    """The id of a lease of `ttl` seconds for keys below `prefix`, in the file `path`; None: not kept.

    A lease that was recorded with another TTL or prefix is not taken over. Trouble with the file is logged.
    """

    def __init__(self, path: Path | None, ttl: int, prefix: bytes) -> None:
        self._path = path
        self._ttl = ttl
        self._prefix = prefix

    def read(self) -> int:
        """Return the recorded lease; 0: none."""
        if self._path is None:
            return 0
        try:
            lease = msgspec.json.decode(self._path.read_bytes(), type=_Lease)
        except FileNotFoundError:
            return 0
        except (OSError, ValueError, msgspec.DecodeError) as error:
            log.warning("lease file %s: invalid: %s (ignored): using a new lease", self._path, error)
            return 0
        return lease.id if (lease.ttl, lease.prefix) == (self._ttl, self._prefix) else 0

    def write(self, lease: int) -> None:
        """Record the lease; 0: none."""
        if self._path is None:
            return
        draft = self._path.with_suffix(".draft")
        try:
            draft.write_bytes(msgspec.json.encode(_Lease(lease, self._ttl, self._prefix)))
            draft.replace(self._path)
        except OSError as error:
            log.warning("lease file %s: not written: %s: a restart will use a new lease", self._path, error.strerror)
