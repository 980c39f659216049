"""Sources of configuration: their URLs, and what each has last said that was good.

`SourceState` stands between a watcher, which knows paths and bytes, and the
rest, which knows keys and values. A value that cannot be used leaves the last
good one in force, also across restarts, as good values are kept on disk.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal, NamedTuple
from urllib.parse import unquote, urlsplit

import msgspec

from clusterf.codec import Problem, decode
from clusterf.filetree import below
from clusterf.keys import parse_key
from clusterf.model import Key, Value
from clusterf.names import escape
from clusterf.state import KeyedStore, checksum

__all__ = ["Said", "Source", "SourceState", "check_tree", "describe", "parse_source"]

_LINES = 10  # of a log that one object may take


class Source(msgspec.Struct, frozen=True):
    """Where configuration comes from. `path` is a directory, or the prefix of the keys."""

    url: str
    kind: Literal["file", "etcd"]
    path: str


def parse_source(url: str) -> Source:
    """Return the source that `url` names. Raises ValueError with the reason it names none."""
    parts = urlsplit(url)
    path = unquote(parts.path)
    if parts.query or parts.fragment:
        raise ValueError(f"{url}: has a query or a fragment; write ? as %3F and # as %23")
    match parts.scheme:
        case "file":
            if parts.netloc not in {"", "localhost"} or not path.startswith("/") or "\0" in path:
                raise ValueError(f"{url}: needs an absolute path, as in file:///etc/clusterf")
            return Source(url, "file", path)
        case "etcd" | "etcd+https":
            raise ValueError(f"{url}: this version reads file:// sources only")
        case _:
            raise ValueError(f"{url}: not a configuration source, which begins with file://")


def check_tree(source: Source) -> None:
    """Raise ValueError with the reason why the tree of a `file://` source cannot be read at present."""
    try:
        next(Path(source.path).iterdir(), None)
    except OSError as error:
        raise ValueError(f"{source.url}: {error.strerror or error}") from None


class Said(NamedTuple):
    """What a source says of one path now.

    `key` None: the path names no known key. `value` is the value in force,
    None: there is none. `keep`: whatever value is in force stays so.
    """

    path: bytes
    key: Key | None
    value: Value | None
    problems: tuple[Problem, ...]
    keep: bool = False


class SourceState:
    """What one source has said, kept in a store under its URL."""

    def __init__(self, url: str, store: KeyedStore) -> None:
        self._url = url
        self._store = store
        # the checksums on disk; only until the source has been told as a whole
        self._recorded: dict[bytes, int] | None = store.checksums(url)
        self._unreadable: set[bytes] = set()
        self._changes: dict[bytes, bytes | None] = {}

    def put(self, path: bytes, raw: bytes | None) -> Said:
        """Take `raw` for what is at `path`, None: nothing."""
        key = parse_key(path)
        if raw is None:
            self._record(path, None)
            return Said(path, key, None, ())
        if key is None:
            return Said(path, None, None, (Problem(self._url, path, "", "not a key that means anything", fatal=False),))
        decoded = decode(self._url, path, key, raw)
        if decoded.value is None:
            return self._fall_back(path, key, decoded.problems)
        self._record(path, raw)
        return Said(path, key, decoded.value, decoded.problems)

    def unreadable(self, path: bytes, reason: str) -> Iterator[Said]:
        """Take it that `path`, and all below it, cannot be read; yield what was good there when it could be."""
        if self._recorded is not None:
            self._unreadable.add(path)
        trouble = Problem(self._url, path, "", f"cannot be read: {reason}", fatal=True)
        yield Said(path, None, None, (trouble,), keep=True)
        for known, raw in self._store.items(self._url):
            key = parse_key(known)
            if key is not None and below(known, path):
                value = decode(self._url, known, key, raw).value
                yield Said(known, key, value, (), keep=value is None)

    def told(self, present: Iterable[bytes]) -> None:
        """Take `present` for all the paths there are, now that the source was read as a whole."""
        if self._recorded is not None:
            gone = self._recorded.keys() - set(present)
            self._changes.update((p, None) for p in gone if not any(below(p, root) for root in self._unreadable))
            self._recorded = None

    def save(self) -> None:
        """Keep what was good on disk."""
        changes, self._changes = self._changes, {}
        self._store.update(self._url, changes)

    def _fall_back(self, path: bytes, key: Key, problems: tuple[Problem, ...]) -> Said:
        last = self._changes.get(path) or self._store.get(self._url, path)
        value = decode(self._url, path, key, last).value if last is not None else None
        # without a store the receiver still has what was good
        return Said(path, key, value, problems, keep=value is None)

    def _record(self, path: bytes, raw: bytes | None) -> None:
        if self._recorded is not None and raw is not None and self._recorded.get(path) == checksum(path, raw):
            return
        self._changes[path] = raw


def describe(said: Said) -> Iterator[str]:
    """Yield a line for each problem, up to a limit, with what it means for the value in force."""
    for problem in said.problems[:_LINES]:
        if not problem.fatal:
            yield f"{problem} (ignored)"
        elif said.value is not None:
            yield f"{problem} (the last good value stays in force)"
        elif said.key is None:
            yield f"{problem} (what is known stays in force)"
        else:
            yield f"{problem} (left out: no good value is on record)"
    if len(said.problems) > _LINES:
        yield f"{said.problems[0].source}: {escape(said.path)}: {len(said.problems) - _LINES} more problems"
