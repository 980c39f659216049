"""Sources of configuration: their URLs, and what each has last said that was good.

`LastGood` stands between a watcher, which knows paths and bytes, and the
rest, which knows keys and values. A value that cannot be used leaves the last
good one in force, also across restarts, as good values are kept on disk.
"""

import itertools
import logging
import time
from collections.abc import Iterable, Iterator
from functools import reduce
from operator import xor
from typing import NamedTuple

import msgspec

from clusterf.config.decode import decode
from clusterf.config.keys import parse_key
from clusterf.config.model import Key, Value
from clusterf.config.problems import Problem
from clusterf.lib.store import Store, checksum, is_below
from clusterf.lib.text import escape

log = logging.getLogger(__name__)

__all__ = ["Copy", "KeyUpdate", "LastGood", "describe"]

_COPY = b""  # no path; what is on disk under it tells what the rest is a copy of
_LINES = 10  # of a log that one object may take


class KeyUpdate(NamedTuple):
    """What a source says of one path now.

    `key` None: the path names no known key. `value` is the value in force,
    None: there is none. `keep`: whatever value is in force stays so.
    """

    path: bytes
    key: Key | None
    value: Value | None
    problems: tuple[Problem, ...]
    keep: bool = False


class Copy(NamedTuple):
    """What was good in a source `age` seconds ago, at its `revision`."""

    items: dict[bytes, bytes]
    revision: int
    age: float


class LastGood:
    """What one source has said, kept in a store under its URL."""

    def __init__(self, url: str, store: Store) -> None:
        self._url = url
        self._store = store
        # the checksums of what is on disk, or with the next save will be; what is damaged there counts for nothing
        self._recorded = {path: checksum(path, raw) for path, raw in store.items(url)}
        self._told = False
        self._unreadable: set[bytes] = set()
        self._changes: dict[bytes, bytes | None] = {}
        # whether the copy on disk is, or with the next save will be, of the whole source
        self._whole = self._recorded.pop(_COPY, None) is not None
        # the exclusive or of all the checksums, by which it shows if some are missing
        self._sum = reduce(xor, self._recorded.values(), 0)

    @property
    def remembers(self) -> bool:
        """Whether there is a last-good copy of the whole source."""
        return self._whole

    def copy(self) -> Copy | None:
        """Return what was good when the source was last heard of, None if it never was heard of as a whole."""
        items = dict(self._store.items(self._url))
        mark = items.pop(_COPY, None)
        if mark is None:
            return None
        try:
            revision, since, recorded = msgspec.json.decode(mark, type=tuple[int, float, int])
        except msgspec.DecodeError as error:
            log.error("%s: the copy is damaged, and not used: %s", self._url, error)
            return None
        if reduce(xor, itertools.starmap(checksum, items.items()), 0) != recorded:
            log.error("%s: the copy is damaged, and not used: something is missing", self._url)
            return None
        return Copy(items, revision, max(0.0, time.time() - since))

    def put(self, path: bytes, raw: bytes | None) -> KeyUpdate:
        """Take `raw` for what is at `path`, None: nothing."""
        key = parse_key(path)
        if raw is None:
            self._record(path, None)
            return KeyUpdate(path, key, None, ())
        if key is None:
            return KeyUpdate(
                path, None, None, (Problem(self._url, path, "", "not a key that means anything", fatal=False),)
            )
        decoded = decode(self._url, path, key, raw)
        if decoded.value is None:
            return self._fall_back(path, key, decoded.problems)
        self._record(path, raw)
        return KeyUpdate(path, key, decoded.value, decoded.problems)

    def unreadable(self, path: bytes, reason: str) -> Iterator[KeyUpdate]:
        """Take it that `path`, and all below it, cannot be read; yield what was good there when it could be."""
        trouble = Problem(self._url, path, "", f"cannot be read: {reason}", fatal=True)
        yield KeyUpdate(path, None, None, (trouble,), keep=True)
        if self._told:
            return  # what was good stays in force
        self._unreadable.add(path)
        for known, raw in self._store.items(self._url, below=path):
            key = parse_key(known)
            if key is not None:
                value = decode(self._url, known, key, raw).value
                yield KeyUpdate(known, key, value, (trouble,) if known == path else (), keep=value is None)

    def told(self, present: Iterable[bytes]) -> None:
        """Take `present` for all the paths there are, now that the source was read as a whole."""
        if self._told:
            return
        for path in self._recorded.keys() - set(present):
            if not any(is_below(path, root) for root in self._unreadable):
                self._record(path, None)
        self._told = True
        if not self._whole:
            self._whole = True
            self._changes[_COPY] = None  # `save` will say what it is a copy of

    def save(self, revision: int = 0) -> None:
        """Keep what was good on disk, as of `revision`; 0: there is no such thing."""
        changes, self._changes = self._changes, {}
        if (changes or revision) and self._whole:
            changes[_COPY] = msgspec.json.encode((revision, time.time(), self._sum))
        self._store.update(self._url, changes)

    def _fall_back(self, path: bytes, key: Key, problems: tuple[Problem, ...]) -> KeyUpdate:
        last = self._changes[path] if path in self._changes else self._store.get(self._url, path)
        value = decode(self._url, path, key, last).value if last is not None else None
        # without a store the receiver still has what was good
        return KeyUpdate(path, key, value, problems, keep=value is None)

    def _record(self, path: bytes, raw: bytes | None) -> None:
        before = self._recorded.pop(path, None)
        if raw is not None:
            self._recorded[path] = checksum(path, raw)
        now = self._recorded.get(path)
        self._sum ^= (before or 0) ^ (now or 0)
        if self._told or raw is None or before != now:
            self._changes[path] = raw


def describe(said: KeyUpdate) -> Iterator[str]:
    """Yield a line for each problem, up to a limit, with what it means for the value in force."""
    for problem in said.problems[:_LINES]:
        if not problem.fatal:
            yield f"{problem} (ignored)"
        elif said.value is not None:
            yield f"{problem} (keeping the previous valid value)"
        elif said.key is None:
            yield f"{problem} (keeping the previous valid values)"
        else:
            yield f"{problem} (skipped: no previous valid value)"
    if len(said.problems) > _LINES:
        yield f"{said.problems[0].source}: {escape(said.path)}: {len(said.problems) - _LINES} more problems"
