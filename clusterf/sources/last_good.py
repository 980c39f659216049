"""The last good value of each key of a source, in force while the present value is invalid or unreadable.

`LastGood` stands between a follower, which has paths and bytes, and the rest,
which has keys and values. Valid values are kept on disk, so they stay in force
across restarts, too; together they are a copy of the source for when it is unreachable.
"""

import itertools
import logging
import time
from collections.abc import Container, Iterable, Iterator
from collections.abc import Set as AbstractSet
from functools import reduce
from operator import xor
from pathlib import Path
from typing import NamedTuple

import msgspec

from clusterf.config.decode import Decoded, decode
from clusterf.config.keys import parse_key
from clusterf.config.model import Backend, HealthKey, Key, Value
from clusterf.config.problems import Problem
from clusterf.etcd.values import Oversized
from clusterf.lib.store import Store, checksum, is_below
from clusterf.lib.text import escape
from clusterf.sources.source_record import SourceRecord
from clusterf.sources.unknown import UnknownPaths

log = logging.getLogger(__name__)

__all__ = ["KeyUpdate", "LastGood", "LastGoodCopy", "describe", "has_copy"]

_COPY = b""  # the path, which no key has, of the entry that describes the copy: revision, time, checksums
_LINES = 10  # log lines per key, at most


class KeyUpdate(NamedTuple):
    """The state of one path of a source.

    `key`: None if the path is no known key. `value`: the value in force; None if there
    is none. `unchanged`: the value in force is not known here, and stays as it is.
    """

    path: bytes
    key: Key | None
    value: Value | None
    problems: tuple[Problem, ...]
    unchanged: bool = False


class LastGoodCopy(NamedTuple):
    """The valid values of a source by path, as of `revision`, which was current `age` seconds ago."""

    items: dict[bytes, bytes]
    revision: int
    age: float


class _Mark(NamedTuple):
    """The entry that describes the copy: its revision, when it was current, and the sum of all checksums."""

    revision: int
    time: float
    sum: int


def _parse_mark(raw: bytes | None) -> _Mark | None:
    try:
        return msgspec.json.decode(raw, type=_Mark) if raw is not None else None
    except (ValueError, RecursionError, msgspec.DecodeError):
        return None


class LastGood:
    """The last good values of the source at `url`, kept in a section of the store."""

    def __init__(self, url: str, store: Store) -> None:
        self._url = url
        self._store = store
        # the checksums of the intact entries on disk, as of the next save
        self._recorded = {path: checksum(path, raw) for path, raw in store.items(url)}
        # whether the first snapshot of the source is complete
        self._completed = False
        self._unreadable: set[bytes] = set()
        # whether the record stays as it is
        self._frozen = False
        # what the next save will write
        self._changes: dict[bytes, bytes | None] = {}
        self._recorded.pop(_COPY, None)
        # the exclusive or of all checksums, which detects missing entries
        self._sum = reduce(xor, self._recorded.values(), 0)
        mark = _parse_mark(store.get(url, _COPY))
        # whether the copy on disk is one of the whole source, as of the next save
        self._has_copy = mark is not None and mark.sum == self._sum
        self._revision = mark.revision if mark is not None and self._has_copy else 0
        self._unknown = UnknownPaths(SourceRecord(url, store))
        # whether a path that is not recorded is known to have had no value
        self._knows_all = self._has_copy and not store.stale

    @property
    def is_stale(self) -> bool:
        """Whether what was saved last before this process may not have been written."""
        return self._store.stale

    @property
    def has_copy(self) -> bool:
        """Whether there is a copy of the whole source."""
        return self._has_copy

    @property
    def revision(self) -> int:
        """The revision of the copy as it was found, 0 without one."""
        return self._revision

    @property
    def unknown(self) -> str | None:
        """Since when values are invalid or unreadable of which nobody knows what they were; None: there are none."""
        return self._unknown.since if self._unknown else None

    def forget_unknown(self) -> None:
        """Have nothing in force for these."""
        self._unknown.clear()

    def paths(self) -> AbstractSet[bytes]:
        """Return the paths of the recorded values."""
        return self._recorded.keys()

    def raw(self, path: bytes) -> bytes | None:
        """Return the recorded value of the path, None: there is none."""
        return self._changes[path] if path in self._changes else self._store.get(self._url, path)

    def copy(self) -> LastGoodCopy | None:
        """Return the copy; None if it is damaged, or the source was never read as a whole."""
        items = dict(self._store.items(self._url))
        raw = items.pop(_COPY, None)
        if raw is None:
            return None
        mark = _parse_mark(raw)
        # an entry may have been found damaged, and skipped, by the store
        if mark is None or reduce(xor, itertools.starmap(checksum, items.items()), 0) != mark.sum:
            log.error("%s: last-good copy invalid: entries are missing (ignored)", self._url)
            return None
        return LastGoodCopy(items, mark.revision, max(0.0, time.time() - mark.time))

    def freeze(self, frozen: bool) -> None:
        """Begin or end to keep the record as it is, whatever is put."""
        self._frozen = frozen

    def put(self, path: bytes, raw: bytes | Oversized | None) -> KeyUpdate:
        """Take the bytes at `path`, None if there are none; return its new state. Too many are an invalid value."""
        key = parse_key(path)
        if raw is None:
            self._unknown.discard(path)
            self._record(path, None)
            return KeyUpdate(path, key, None, ())
        if key is None:
            return KeyUpdate(path, None, None, (Problem(self._url, path, "", "unknown key", fatal=False),))
        if isinstance(raw, Oversized):
            refused = Problem(self._url, path, "", raw.reason, fatal=True)
            return self._previous(path, key, b"", Decoded(None, (refused,)))
        decoded = decode(self._url, path, key, raw, limit=None)
        if decoded.value is None:
            return self._previous(path, key, raw, decoded)
        self._unknown.discard(path)
        self._record(path, raw)
        return KeyUpdate(path, key, decoded.value, decoded.problems)

    def unreadable(self, path: bytes, reason: str) -> Iterator[KeyUpdate]:
        """Take `path`, and everything below it, as unreadable; yield the state of the last good values there."""
        problem = Problem(self._url, path, "", f"unreadable: {reason}", fatal=True)
        yield KeyUpdate(path, None, None, (problem,), unchanged=True)
        if self._completed:
            return  # the values in force are those
        self._unreadable.add(path)
        if not self._knows_all:
            self._unknown.add(path)
        for known, raw in self._store.items(self._url, below=path):
            key = parse_key(known)
            if key is not None:
                decoded = decode(self._url, known, key, raw, limit=None)
                value = decoded.value or decoded.fallback
                yield KeyUpdate(known, key, value, (problem,) if known == path else (), unchanged=value is None)

    def read(self, present: Container[bytes], unreadable: Iterable[bytes] = ()) -> None:
        """Note that the whole source was read, but for what is below unreadable paths: what is gone had no value."""
        roots = list(unreadable)
        for path in self._unknown.paths():
            if path not in present and not any(is_below(path, root) for root in roots):
                self._unknown.discard(path)

    def complete(self, present: Iterable[bytes]) -> None:
        """Mark the snapshot complete: forget recorded paths that are not in `present`."""
        if self._completed or self._frozen:
            return
        for path in self._recorded.keys() - set(present):
            if not any(is_below(path, root) for root in self._unreadable):
                self._record(path, None)
        self._completed = self._knows_all = True
        if not self._has_copy:
            self._has_copy = True
            self._changes[_COPY] = None  # has `save` write it

    def save(self, revision: int = 0) -> None:
        """Write the changes to disk, as of `revision`; 0: the source has no revisions."""
        if self._frozen:
            return
        changes, self._changes = self._changes, {}
        if (changes or revision) and self._has_copy:
            changes[_COPY] = msgspec.json.encode(_Mark(revision, time.time(), self._sum))
        self._store.update(self._url, changes)
        self._unknown.save()

    def renew(self) -> None:
        """Note that the whole source was read and saved, however old the copy was that it was before."""
        if not self._frozen:
            self._store.renew()

    def _previous(self, path: bytes, key: Key, raw: bytes, decoded: Decoded) -> KeyUpdate:
        """Return the state of a path with an invalid value: the last good one, else what is in force without one."""
        last = self.raw(path)
        value = decode(self._url, path, key, last, limit=None).value if last is not None else None
        # without a store, only the receiver knows the last good value
        if value is None and (last is not None or path not in self._recorded):
            value = decoded.fallback
            if value is not None:
                self._unknown.discard(path)
                self._record(path, raw)
        if value is None and (last is not None or not self._knows_all):
            self._unknown.add(path)
        return KeyUpdate(path, key, value, decoded.problems, unchanged=value is None)

    def _record(self, path: bytes, raw: bytes | None) -> None:
        if self._frozen:
            return
        before = self._recorded.pop(path, None)
        if raw is not None:
            self._recorded[path] = checksum(path, raw)
        now = self._recorded.get(path)
        self._sum ^= (before or 0) ^ (now or 0)
        if self._completed or raw is None or before != now:
            self._changes[path] = raw


def has_copy(url: str, state_file: Path | None) -> bool:
    """Return whether `state_file` has a copy of the whole source at `url`; another process may have it open."""
    if state_file is None:
        return False
    store = Store(state_file, read_only=True)
    try:
        return LastGood(url, store).has_copy
    finally:
        store.close()


def describe(update: KeyUpdate) -> Iterator[str]:
    """Yield a log line for each problem, up to a limit, with its effect on the value in force."""
    for problem in update.problems[:_LINES]:
        if not problem.fatal:
            yield str(problem) if problem.note else f"{problem} (ignored)"
        elif isinstance(update.value, Backend) and update.value.health and update.value.health.origin == "invalid":
            yield f"{problem} (no previous valid value: checking as its service, or else by TCP)"
        elif update.value is not None:
            yield f"{problem} (keeping the previous valid value)"
        elif update.key is None:
            yield f"{problem} (keeping the previous valid values)"
        elif isinstance(update.key, HealthKey):
            yield f"{problem} (no previous valid value: checking by the default check, or else by TCP)"
        else:
            yield f"{problem} (skipped: no previous valid value)"
    if len(update.problems) > _LINES:
        yield f"{update.problems[0].source}: {escape(update.path)}: {len(update.problems) - _LINES} more problems"
