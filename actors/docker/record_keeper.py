"""RecordKeeper: what is recorded of containers, written to disk in a thread of its own.

The disk may hang. What a container publishes does not wait for its record: without
the record a later node may look up again what this one knew.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Final

import msgspec

from clusterf.docker.record import ContainerRecord, decode_record, encode_record
from clusterf.lib.store import KEEP_INTERVAL, Store
from clusterf.lib.text import escape, printable

__all__ = ["NOBODY", "Owner", "RecordKeeper"]

log = logging.getLogger(__name__)

# sections of the store
RECORDS: Final = "marks"  # of containers; named as by earlier versions
PUBLISHED: Final = "published"  # JSON by path
OWNER: Final = "owner"  # whose they are, by OWNER as well
PATIENCE: Final = 2.0  # seconds for the last records to be written at the end


class Owner(msgspec.Struct, frozen=True):
    """The machine, its boot and the engine whose containers are on record; empty: not known."""

    machine: str = ""
    boot: str = ""
    engine: str = ""


NOBODY: Final = Owner()
NOTHING: Final[Mapping[bytes, bytes | None]] = MappingProxyType({})


class RecordKeeper:
    """Keeps the records in `store`, from `start` to `close`; only the thread and `read` use the store.

    `on_failure` is called in the thread with an exception that ends it, which none of the disk's faults does.
    """

    def __init__(self, store: Store, on_failure: Callable[[Exception], None], owner: Owner = NOBODY) -> None:
        self._store = store
        # whose the records are, and whose those that were found
        self._owner = owner
        self._found_owner = _stored_owner(store)
        self._on_failure = on_failure
        self._changed = threading.Condition()
        # what is to be written, the newest by container, and whether all was updated by then
        self._updates: dict[str, dict[bytes, bytes | None]] = {}
        # what was found as published, until it is known what is now
        self._old_paths: list[bytes] = []
        self._complete = self._ending = False
        self._kept = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="container records", daemon=True)

    def read(self) -> dict[str, ContainerRecord]:
        """Return the records of the last time, if that was on this machine. To be called before `start`."""
        if self._found_owner.machine not in {"", self._owner.machine}:
            log.warning("docker: the records of containers are of another machine (ignored)")
            self._put(RECORDS, dict.fromkeys(one for one, _ in self._store.items(RECORDS)))
            return {}
        return dict(_stored_records(self._store))

    def published(self) -> dict[bytes, bytes]:
        """Return what was published last, in this boot of this machine. To be called before `start`."""
        found = self._found_owner
        self._old_paths = [path for path, _ in self._store.items(PUBLISHED)]
        if self._store.stale or (found.machine, found.boot) != (self._owner.machine, self._owner.boot):
            return {}
        return dict(self._store.items(PUBLISHED))

    def identify(self, engine: str) -> bool:
        """Say whose containers these are, if that is known; return whether those on record were of another engine."""
        was_other = bool(engine) and self._owner.engine == "" and self._found_owner.engine not in {"", engine}
        if engine:
            self._owner = msgspec.structs.replace(self._owner, engine=engine)
        self._put(OWNER, {OWNER.encode(): msgspec.json.encode(self._owner)})
        return was_other

    def start(self) -> None:
        """Write from now on."""
        self._thread.start()

    def put(
        self,
        records: Mapping[str, ContainerRecord | None],
        *,
        complete: bool,
        published: Mapping[bytes, bytes | None] = NOTHING,
    ) -> None:
        """Have these records replaced, None: removed, soon, and what is published.

        `complete`: all others are up to date, too, and at the first time this is all that is published.
        """
        encoded = {one.encode(): encode_record(record) if record else None for one, record in records.items()}
        with self._changed:
            self._complete |= complete
        if complete:
            published = {**dict.fromkeys(self._old_paths), **published}
            self._old_paths.clear()
        self._put(RECORDS, encoded)
        self._put(PUBLISHED, published)

    def _put(self, section: str, changes: Mapping[bytes, bytes | None]) -> None:
        with self._changed:
            if changes:
                self._updates.setdefault(section, {}).update(changes)
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
            self._changed.wait_for(lambda: self._updates or self._complete or self._ending, wait)
            updates, self._updates = self._updates, {}
            complete, self._complete = self._complete, False
            ending = self._ending
        for section, changes in updates.items():
            self._store.update(section, changes)
        if complete:
            self._store.renew()
        if time.monotonic() >= self._kept + KEEP_INTERVAL:
            self._store.keep()
            self._kept = time.monotonic()
        return not ending


def _stored_owner(store: Store) -> Owner:
    """Return whose the records are; one that cannot be read is nobody's here."""
    for _, raw in store.items(OWNER):
        try:
            return msgspec.json.decode(raw, type=Owner)
        except (ValueError, RecursionError, msgspec.DecodeError) as error:
            log.error("docker: invalid stored record of the node: %s (ignored)", printable(str(error)))
            return Owner("unknown")
    return NOBODY


def _stored_records(store: Store) -> Iterator[tuple[str, ContainerRecord]]:
    for container_id, raw in store.items(RECORDS):
        try:
            yield container_id.decode(), decode_record(raw)
        except ValueError as error:
            log.error("docker: invalid stored record of %s: %s (ignored)", escape(container_id), error)
