"""Copying configuration from a tree to etcd and back.

Only differences are written to etcd. Keys that are attached to a lease are those of nodes
that live, and expire with them: a copy of one would be there for ever, and one that is deleted is a
backend less. They are left alone unless the caller says otherwise, also if they get
their lease while the rest is written.

Keys become file names only after a check: those who may write keys must not choose
which files are written.
"""

import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from clusterf.config.keys import parse_key
from clusterf.config.problems import Problem
from clusterf.etcd.client import Client
from clusterf.etcd.errors import EtcdError
from clusterf.etcd.transactions import batches
from clusterf.etcd.values import Oversized

__all__ = ["Change", "differences", "make_private", "write_keys", "write_tree"]

_NAME_MAX = 255  # bytes of a file name


class Change(NamedTuple):
    """A key and its value before and after; None: the key is absent."""

    path: bytes
    before: bytes | Oversized | None
    after: bytes | None


def differences(
    wanted: Mapping[bytes, bytes | None],
    present: Mapping[bytes, bytes | Oversized],
    *,
    prune: bool = False,
    keep: Collection[bytes] = (),
) -> list[Change]:
    """Return the changes from `present` to `wanted`: first the puts, then the deletions, each sorted by path.

    Keys that are not wanted are deleted only with `prune`, and not if they are in `keep`. A value of None in
    `wanted`: leave the key as it is.
    """
    changes = [
        Change(path, present.get(path), value)
        for path, value in sorted(wanted.items())
        if value is not None and value != present.get(path)
    ]
    if prune:
        changes += [Change(path, present[path], None) for path in sorted(present.keys() - wanted.keys() - set(keep))]
    return changes


def write_keys(client: Client, changes: Sequence[Change], *, leased: bool = False) -> list[bytes]:
    """Write the changes to etcd; return the paths that were left alone, as they are attached to a lease.

    With `leased` none is. Raises EtcdError, which says how many were written before.
    """
    written = 0
    skipped: list[bytes] = []
    for batch in batches((change.path, change.after) for change in changes):
        puts = [(path, value) for path, value in batch if value is not None]
        deletes = [path for path, value in batch if value is None]
        try:
            if leased:
                client.transact(puts, deletes)
            else:
                skipped += client.write_unleased(puts, deletes)
        except EtcdError as error:
            raise EtcdError(f"{written} of {len(changes)} changes written, then failed: {error}") from None
        written += len(batch)
    return skipped


def write_tree(source: str, items: Iterable[tuple[bytes, bytes | Oversized]], root: Path) -> Iterator[Problem]:
    """Write a file below `root` for each key; yield a problem for each key that was not written.

    Unknown keys are skipped, which is not fatal.
    """
    for path, value in items:
        try:
            _check_name(path)
            if parse_key(path) is None:
                yield Problem(source, path, "", "unknown key", fatal=False)
            elif isinstance(value, Oversized):
                yield Problem(source, path, "", f"not written: {value.reason}", fatal=True)
            else:
                _write_file(root, path, value)
        except ValueError as error:
            yield Problem(source, path, "", f"not written: {error}", fatal=True)
        except OSError as error:
            yield Problem(source, path, "", f"not written: {error.strerror}", fatal=True)


def _check_name(path: bytes) -> None:
    """Raise ValueError with the reason if the key must not become a file."""
    for name in path.split(b"/"):
        if not name:
            raise ValueError("a file name must not be empty")
        if name.startswith(b"."):
            raise ValueError("a file name must not begin with a dot")
        if b"\0" in name:
            raise ValueError("a file name must not contain NUL")
        if len(name) > _NAME_MAX:
            raise ValueError(f"a file name has at most {_NAME_MAX} bytes, this one {len(name)}")


def _write_file(root: Path, path: bytes, value: bytes) -> None:
    """Write the file of a key atomically. Raises ValueError if it would be outside of `root`, and OSError."""
    target = root / os.fsdecode(path)
    # existing symbolic links may point anywhere
    if not Path(os.path.realpath(target.parent)).is_relative_to(os.path.realpath(root)):
        raise ValueError(f"a symbolic link puts its directory outside of {root}")
    make_private(target.parent)
    # readers of trees ignore names that begin with a dot
    draft = target.parent / f".clusterf-{os.getpid()}"
    draft.unlink(missing_ok=True)  # of an earlier process; whose it is, and what it leads to, does not matter
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "wb") as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(value if not value or value.endswith(b"\n") else value + b"\n")
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)


def make_private(folder: Path) -> None:
    """Make a directory, and those above it, for their owner only, whatever the umask; existing ones stay as they are.

    Checks may have credentials in their headers. Raises OSError.
    """
    missing = [one for one in (folder, *folder.parents) if not one.exists()]
    for one in reversed(missing):
        one.mkdir(mode=0o700, exist_ok=True)
        one.chmod(0o700)
