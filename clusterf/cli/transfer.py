"""Configuration on its way from a tree into etcd and back.

Into etcd goes only what differs. Out of it nothing reaches a file name
unchecked: whoever may write a key must not choose which file is written.
"""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from clusterf.config.keys import parse_key
from clusterf.config.problems import Problem
from clusterf.etcd.errors import EtcdError
from clusterf.etcd.client import Client
from clusterf.etcd.transactions import OPERATIONS

__all__ = ["Change", "batches", "differences", "write_keys", "write_tree"]

_ROOM = 1 << 20  # bytes that go into a transaction with others; etcd takes 1.5 MiB at once
_LONGEST = 255  # bytes of a file name


class Change(NamedTuple):
    """A key and its value before and after; None: there is none."""

    path: bytes
    before: bytes | None
    after: bytes | None


def differences(
    wanted: Mapping[bytes, bytes | None], present: Mapping[bytes, bytes], *, prune: bool = False
) -> list[Change]:
    """Return what makes `present` hold all that is wanted: first the puts, then the deletions, each sorted.

    What is not wanted goes only with `prune`. None is for a key that is to be left as it is.
    """
    changes = [
        Change(path, present.get(path), value)
        for path, value in sorted(wanted.items())
        if value is not None and value != present.get(path)
    ]
    if prune:
        changes += [Change(path, present[path], None) for path in sorted(present.keys() - wanted.keys())]
    return changes


def batches(changes: Sequence[Change]) -> Iterator[list[Change]]:
    """Yield the changes in parts of a size that etcd takes at once."""
    batch: list[Change] = []
    size = 0
    for change in changes:
        room = len(change.path) + len(change.after or b"")
        if batch and (len(batch) == OPERATIONS or size + room > _ROOM):
            yield batch
            batch, size = [], 0
        batch.append(change)
        size += room
    if batch:
        yield batch


def write_keys(client: Client, changes: Sequence[Change]) -> None:
    """Write the changes. Raises EtcdError, which says how many were written before."""
    done = 0
    for batch in batches(changes):
        puts = [(change.path, change.after) for change in batch if change.after is not None]
        try:
            client.transact(puts, [change.path for change in batch if change.after is None])
        except EtcdError as error:
            raise EtcdError(f"{done} of {len(changes)} changes were written, then {error}") from None
        done += len(batch)


def write_tree(source: str, items: Iterable[tuple[bytes, bytes]], root: Path) -> Iterator[Problem]:
    """Write a file below `root` for each key, and yield a problem for each that there is none for.

    What is no known key is left out, which is not fatal.
    """
    for path, value in items:
        try:
            _check_name(path)
            if parse_key(path) is None:
                yield Problem(source, path, "", "not a key that means anything", fatal=False)
            else:
                _write_file(root, path, value)
        except ValueError as error:
            yield Problem(source, path, "", f"not written: {error}", fatal=True)
        except OSError as error:
            yield Problem(source, path, "", f"not written: {error.strerror}", fatal=True)


def _check_name(path: bytes) -> None:
    """Raise ValueError with the reason why a key must not become a file."""
    for name in path.split(b"/"):
        if not name:
            raise ValueError("an empty name is no file name")
        if name.startswith(b"."):
            raise ValueError("a file name must not begin with a dot")
        if b"\0" in name:
            raise ValueError("a file name cannot hold a NUL")
        if len(name) > _LONGEST:
            raise ValueError(f"a file name has at most {_LONGEST} bytes, not {len(name)}")


def _write_file(root: Path, path: bytes, value: bytes) -> None:
    """Write the file of a key at once, as lines of text. Raises ValueError if it would leave `root`; OSError."""
    target = root / os.fsdecode(path)
    # links that are there already may lead anywhere
    if not Path(os.path.realpath(target.parent)).is_relative_to(os.path.realpath(root)):
        raise ValueError(f"a link leads its directory out of {root}")
    target.parent.mkdir(parents=True, exist_ok=True)
    # no reader of trees looks at names that begin with a dot
    draft = target.parent / f".clusterf-{os.getpid()}"
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o666), "wb") as file:
            file.write(value if not value or value.endswith(b"\n") else value + b"\n")
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)
