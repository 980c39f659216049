"""A tree of files beside etcd, and what happens to files: all of it changes nothing that is wanted, but the edits.

    tree/services -> ../mount/services

so that what the tree shows can be away, as a file system that is not mounted.
"""

import json
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

from tests.soak import plan

__all__ = ["TREE_FAULTS", "Tree"]

SHORT = 0.3  # seconds in which a file that was removed is there again: less than what a node takes as a burst


class Tree:
    """The tree, and what is configured in it; `configured` is called after each edit, with the time it began."""

    def __init__(self, folder: Path, configured: Callable[[float, str], None]) -> None:
        self.root = folder / "tree"
        self.mount = folder / "mount"
        self.objects = plan.in_tree()
        self._configured = configured

    @property
    def url(self) -> str:
        """The URL of the source."""
        return f"file://{self.root}"

    def make(self) -> None:
        """Write it all."""
        self.root.mkdir()
        for path in self.objects:
            self.file(path).parent.mkdir(parents=True, exist_ok=True)
            self.replace(path)
        (self.root / "services").symlink_to(self.mount / "services")

    def file(self, path: str) -> Path:
        """Return the file of a key."""
        return self.mount / path

    def text(self, path: str) -> str:
        """Return what the file of a key has to hold."""
        return json.dumps(self.objects[path])

    def replace(self, path: str) -> None:
        """Write a file as it should be: at once."""
        draft = self.mount / "draft"
        draft.write_text(self.text(path))
        draft.replace(self.file(path))

    def edit(self, path: str, weight: int) -> None:
        """Change a backend's weight."""
        begin = time.monotonic()
        self.objects = {**self.objects, path: {**self.objects[path], "weight": weight}}
        self.replace(path)
        self._configured(begin, f"weight of {path} in the tree: {weight}")


Fault = Callable[[Random, Tree], str]


def _some(rng: Random, tree: Tree) -> list[str]:
    paths = sorted(tree.objects)
    return rng.sample(paths, rng.randint(1, len(paths)))


def created_anew(rng: Random, tree: Tree) -> str:
    """Remove files, and create them soon after."""
    paths, seconds = _some(rng, tree), rng.uniform(0, SHORT)
    for path in paths:
        tree.file(path).unlink()
    time.sleep(seconds)
    for path in paths:
        tree.file(path).write_text(tree.text(path))
    return f"{len(paths)} files for {seconds:.3f} s"


def in_place(rng: Random, tree: Tree) -> str:
    """Write files in place, in two parts."""
    paths, seconds = _some(rng, tree), rng.uniform(0, SHORT)
    for path in paths:
        text = tree.text(path)
        cut = rng.choice([0, len(text) // 2, len(text) - 1])
        with tree.file(path).open("w") as out:
            out.write(text[:cut])
            out.flush()
            time.sleep(seconds / len(paths))
            out.write(text[cut:])
    return f"{len(paths)} files within {seconds:.3f} s"


def emptied(rng: Random, tree: Tree) -> str:
    """Have files empty or with garbage for a while."""
    paths, seconds = _some(rng, tree), rng.uniform(0.5, 3)
    for path in paths:
        tree.file(path).write_bytes(rng.choice([b"", b"\n", b"{", b"\xff", b'{"tcp": "x"}']))
    time.sleep(seconds)
    for path in paths:
        tree.replace(path)
    return f"{len(paths)} files for {seconds:.1f} s"


def away(rng: Random, tree: Tree) -> str:
    """Have what the link points at be away."""
    seconds = rng.uniform(0.3, 5)
    elsewhere = tree.mount.with_name("elsewhere")
    tree.mount.rename(elsewhere)
    time.sleep(seconds)
    elsewhere.rename(tree.mount)
    return f"for {seconds:.1f} s"


def without_root(rng: Random, tree: Tree) -> str:
    """Have the root be away."""
    seconds = rng.uniform(0.3, 5)
    elsewhere = tree.root.with_name("elsewhere-root")
    tree.root.rename(elsewhere)
    time.sleep(seconds)
    elsewhere.rename(tree.root)
    return f"for {seconds:.1f} s"


def touched(rng: Random, tree: Tree) -> str:
    """Change nothing but time stamps, or replace files by themselves."""
    for path in _some(rng, tree):
        if rng.random() < 0.5:
            tree.file(path).touch()
        else:
            tree.replace(path)
    return ""


def edited(rng: Random, tree: Tree) -> str:
    """Change a weight; no backend is without one."""
    path = rng.choice([path for path in sorted(tree.objects) if "/backends/" in path])
    tree.edit(path, rng.choice([1, 5, 10, 20]))
    return path


TREE_FAULTS: dict[str, tuple[int, Fault]] = {
    "files removed and created": (3, created_anew),
    "files written in place": (3, in_place),
    "files emptied, or garbage": (2, emptied),
    "file system of a tree away": (2, away),
    "root of a tree away": (1, without_root),
    "files touched": (1, touched),
    "weights in a tree": (2, edited),
}
"""Each fault with how often it comes."""
