"""Files of a configuration tree, as a list of files, directories and links to make, and what scans make of them."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from random import Random

from clusterf.config.decode import MAX_SIZE
from clusterf.config.keys import parse_key
from clusterf.lib.store import Store
from clusterf.sources.last_good import LastGood, describe
from clusterf.sources.tree import Entry, FileTree
from tests.fuzz.invariants import assert_printable, logged
from tests.fuzz.mutate import headed, in_parts, mutate_bytes, mutate_json
from tests.fuzz.target import Target, parts, targets

__all__ = ["TARGETS", "scratch"]

URL = "file:///etc/clusterf"
KINDS = [b"file", b"folder", b"link", b"pipe", b"remove"]


@contextmanager
def scratch() -> Iterator[Path]:
    """Return a directory in memory, if there is one, which is removed in the end."""
    memory = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(prefix="clusterf-fuzz-", dir=memory if os.access(memory, os.W_OK) else None))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _tree(data: bytes) -> str:
    """Check that two scans agree with what is there, whatever it is and however it is named."""
    with scratch() as folder, logged():
        root = folder / "tree"
        _plant(root, data)
        tree = FileTree(root)
        first = list(tree.scan(b"", reread=True))
        assert len({entry.path for entry in first}) == len(first), "a path is yielded twice"
        last_good = LastGood(URL, Store(None))
        values = sum(_check_entry(entry, root, last_good) for entry in first)
        assert list(tree.scan(b"", reread=True)) == first, "nothing has changed, but the next scan says so"
    errors = sum(bool(entry.error) for entry in first)
    unknown = sum(parse_key(entry.path) is None for entry in first)
    return f"{min(values, 5)} values, {min(errors, 3)} unreadable, {min(unknown, 3)} no keys"


def _plant(root: Path, data: bytes) -> None:
    """Make what the parts of the input say."""
    root.mkdir()
    (root.parent / "outside").write_text('{"ipv4": "10.0.0.9"}')
    for part in parts(data, 20):
        head, _, content = part.partition(b"\n")
        kind, _, name = head.partition(b" ")
        if (path := _path(root, name)) is not None:
            with suppress(OSError):
                _make(path, kind, content)


def _check_entry(entry: Entry, root: Path, last_good: LastGood) -> int:
    """Check an entry of a scan; return how many values follow from it."""
    assert not any(name.startswith(b".") for name in entry.path.split(b"/"))
    if entry.raw is not None:
        assert entry.raw == (root / os.fsdecode(entry.path)).read_bytes()[: MAX_SIZE + 1]
    if entry.error:
        updates = list(last_good.unreadable(entry.path, entry.error))
    else:
        updates = [last_good.put(entry.path, entry.raw)]
    for update in updates:
        for line in describe(update):
            assert_printable(line)
    return sum(update.value is not None for update in updates)


def _path(root: Path, name: bytes) -> bytes | None:
    """Return the path of a name below the root, None for one that no file can have."""
    names = name.split(b"/")
    if not 0 < len(name) < 1000 or len(names) > 8 or b"\0" in name:
        return None
    if any(each in (b"", b".", b"..") or len(each) > 255 for each in names):
        return None
    return os.path.join(os.fsencode(root), name)  # noqa: PTH118


def _make(path: bytes, kind: bytes, content: bytes) -> None:
    """Make a file of some kind. Raises OSError if it cannot be."""
    os.makedirs(os.path.dirname(path), exist_ok=True)  # noqa: PTH103, PTH120
    match kind:
        case b"folder":
            os.mkdir(path)  # noqa: PTH102
        case b"link":
            # to the outside, to the tree itself, to a name in the same directory, to nothing
            where = (b"../outside", b"..", b".", b"frontend", b"/nowhere", b"/dev/zero", b"/proc/self/mem")
            os.symlink(where[len(content) % len(where)], path)  # noqa: PTH211
        case b"pipe":
            os.mkfifo(path)
        case b"remove":
            os.unlink(path)  # noqa: PTH108
        case _:
            # neither through a link, nor into a pipe that nobody reads
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK), "wb") as file:
                file.write(content)


def _head(head: bytes, rng: Random) -> bytes:
    kind, _, name = head.partition(b" ")
    return (
        (rng.choice(KINDS) + b" " + name)
        if rng.random() < 0.4
        else kind + b" " + mutate_bytes(name, rng).replace(b"\n", b"")
    )


TARGETS = targets(
    {
        "tree": Target(
            _tree, ("clusterf.sources.tree", "clusterf.sources.last_good"), in_parts(headed(_head, mutate_json))
        )
    }
)
