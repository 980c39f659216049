"""The lease file, read and written in a thread of its own: a lease is kept alive although the disk hangs.

What is to be in the file is known at once, and there as soon as the disk allows.
"""

import threading

from clusterf.leases.lease_file import LeaseFile
from clusterf.lib.store import KEEP_INTERVAL

__all__ = ["LeaseRecord"]

PATIENCE = 2.0  # seconds to wait for the disk at the end


class LeaseRecord:
    """The lease of `file`, between `read` and `close`."""

    def __init__(self, file: LeaseFile) -> None:
        self._file = file
        self._found = 0
        self._was_read = threading.Event()
        self._wake = threading.Event()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="etcd lease file", daemon=True)

    @property
    def found_engine(self) -> str:
        """The id of the engine that the lease was recorded for, empty: not known."""
        return self._file.found_engine

    def identify(self, engine: str) -> None:
        """Have the lease recorded for this engine."""
        self._file.engine = engine
        self._wake.set()

    def read(self, timeout: float) -> int:
        """Return the recorded lease; 0: none, or the disk does not answer within `timeout` seconds."""
        self._thread.start()
        self._was_read.wait(timeout)
        return self._found

    def write(self, lease: int) -> None:
        """Have the lease recorded; 0: none."""
        self._file.lease = lease
        self._wake.set()

    def close(self) -> None:
        """Write what is not written, if that does not take long, and end."""
        self._closing = True
        self._wake.set()
        self._thread.join(PATIENCE)

    def _run(self) -> None:
        self._found = self._file.read()
        self._was_read.set()
        while not self._closing:
            self._wake.wait(KEEP_INTERVAL)
            self._wake.clear()
            self._file.keep()
