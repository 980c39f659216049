"""RecordKeeper: what is recorded of containers, written to disk in a thread of its own.

The disk may hang. What a container publishes does not wait for its record: without
the record a later node may look up again what this one knew.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from clusterf.docker.record import ContainerRecord, decode_record, encode_record
from clusterf.lib.store import KEEP_INTERVAL, Store
from clusterf.lib.text import escape

__all__ = ["RecordKeeper"]

log = logging.getLogger(__name__)

RECORDS: Final = "marks"  # the section of the store, named as by earlier versions
PATIENCE: Final = 2.0  # seconds for the last records to be written at the end


class RecordKeeper:
    """Keeps the records in `store`, from `start` to `close`; only the thread and `read` use the store.

    `on_failure` is called in the thread with an exception that ends it, which none of the disk's faults does.
    """

    def __init__(self, store: Store, on_failure: Callable[[Exception], None]) -> None:
        self._store = store
        self._on_failure = on_failure
        self._changed = threading.Condition()
        # what is to be written, the newest by container, and whether all was updated by then
        self._records: dict[str, ContainerRecord | None] = {}
        self._complete = self._ending = False
        self._kept = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="container records", daemon=True)

    def read(self) -> dict[str, ContainerRecord]:
        """Return the records of the last time. To be called before `start`."""
        return dict(_stored_records(self._store))

    def start(self) -> None:
        """Write from now on."""
        self._thread.start()

    def put(self, records: Mapping[str, ContainerRecord | None], *, complete: bool) -> None:
        """Have these records replaced, None: removed, soon; `complete`: all others are up to date, too."""
        with self._changed:
            self._records.update(records)
            self._complete |= complete
            self._changed.notify()

    def close(self) -> None:
        """Write what is left, as long as that takes no longer than `PATIENCE`, and close the store."""
        with self._changed:
            self._ending = True
            self._changed.notify()
        self._thread.join(PATIENCE)
        if self._thread.is_alive():
            log.warning("docker: the records of containers cannot be written: the disk does not answer")

    def _run(self) -> None:
        try:
            while self._write_next():
                pass
            self._store.close()
        except Exception as error:  # noqa: BLE001 -- the actor fails with it
            self._on_failure(error)

    def _write_next(self) -> bool:
        """Wait for something to write, or for the next time to look after the store; return whether there is more."""
        with self._changed:
            wait = max(0.0, self._kept + KEEP_INTERVAL - time.monotonic())
            self._changed.wait_for(lambda: self._records or self._complete or self._ending, wait)
            records, self._records = self._records, {}
            complete, self._complete = self._complete, False
            ending = self._ending
        if records:
            changes = {one.encode(): encode_record(record) if record else None for one, record in records.items()}
            self._store.update(RECORDS, changes)
        if complete:
            self._store.renew()
        if time.monotonic() >= self._kept + KEEP_INTERVAL:
            self._store.keep()
            self._kept = time.monotonic()
        return not ending


def _stored_records(store: Store) -> Iterator[tuple[str, ContainerRecord]]:
    for container_id, raw in store.items(RECORDS):
        try:
            yield container_id.decode(), decode_record(raw)
        except ValueError as error:
            log.error("docker: invalid stored record of %s: %s (ignored)", escape(container_id), error)
