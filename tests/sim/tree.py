"""A file tree as a source: real files in a directory, changed in the ways in which files are changed.

inotify is simulated: followers are told which paths were touched, a moment later.
"""

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.sim import fibers
from tests.sim.simulation import EPOCH, Simulation

__all__ = ["Tree", "Watchfiles"]

LOOK = 1.0  # seconds without events after which a follower looks whether the root is the same
DELAY = 0.01


class Tree:
    """The tree below `root`. `contents` is what its owner means; files may be behind that for moments."""

    def __init__(self, simulation: Simulation, root: Path) -> None:
        self.simulation = simulation
        self.root = root
        self.root.mkdir(parents=True)
        self.contents: dict[bytes, bytes] = {}
        # seconds by which the clock of the file server is behind ours
        self.behind = 0.0
        self.watches: list[_Watch] = []
        # when it was changed last; files are complete a moment later
        self.changed_at = 0.0
        # directories that are away: where they are meanwhile
        self._away: dict[str, Path] = {}

    @property
    def is_away(self) -> bool:
        """Whether a part of the tree is away at present."""
        return bool(self._away)

    def change(self, changes: Mapping[bytes, bytes | None], how: str) -> None:
        """Change files: `in place` (empty for a moment), `anew` (unlinked first), or by `rename`."""
        self.changed_at = self.simulation.now
        for path, value in changes.items():
            file = self.root / os.fsdecode(path)
            if value is None:
                self.contents.pop(path, None)
                file.unlink(missing_ok=True)
                self._prune(file.parent)
            else:
                self.contents[path] = value
                file.parent.mkdir(parents=True, exist_ok=True)
                self._write(file, value, how)
            self._touched(file)

    def take_away(self, how: str, name: str = "services") -> None:
        """Have a directory, or the root, be away: `mount` (renamed), or `link` (a link that dangles)."""
        place = self.root / name if name else self.root
        if self._away or not place.is_dir():
            return
        aside = self.root.with_name("aside")
        place.rename(aside)
        self._away[name] = aside
        if how == "link":
            place.symlink_to(self.root.with_name("nowhere"))
        self._touched(place)

    def bring_back(self) -> None:
        """Have everything back that is away."""
        for name, aside in self._away.items():
            place = self.root / name if name else self.root
            if place.is_symlink():
                place.unlink()
            elif place.is_dir():
                shutil.rmtree(place)
            aside.rename(place)
            self._touched(place)
        self._away.clear()

    def _write(self, file: Path, value: bytes, how: str) -> None:
        moment = self.simulation.random.random() * 0.2
        if how == "rename":
            new = file.with_name("." + file.name)
            new.write_bytes(value)
            self._date(new)
            new.rename(file)
            return
        if how == "anew":
            file.unlink(missing_ok=True)
        else:
            file.write_bytes(b"")
            self._date(file)
        path = os.fsencode(file.relative_to(self.root))
        self.simulation.after(moment, lambda: self._complete(file, path))

    def _complete(self, file: Path, path: bytes) -> None:
        value = self.contents.get(path)
        if self._away:
            self.simulation.after(1.0, lambda: self._complete(file, path))
        elif value is not None:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(value)
            self._date(file)
            self._touched(file)

    def _date(self, file: Path) -> None:
        at = EPOCH + self.simulation.now - self.behind
        os.utime(file, (at, at))

    def _prune(self, folder: Path) -> None:
        while folder != self.root and folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
            folder = folder.parent

    def _touched(self, path: Path) -> None:
        for watch in self.watches:
            watch.touch(str(path))


class _Watch:
    """One follower's inotify."""

    def __init__(self, tree: Tree, later: Callable[[float, Callable[[], object]], object]) -> None:
        self._fiber = fibers.present()
        self._tree = tree
        self._later = later
        self._touched: set[tuple[Any, str]] = set()
        self._asleep = False

    def touch(self, path: str) -> None:
        """Have the follower learn of a change, a moment later."""
        self._later(self._tree.simulation.random.random() * 2 * DELAY, lambda: self._arrive(path))

    def changes(self) -> set[tuple[Any, str]]:
        """Wait for changes, and return them; none: nothing has changed for a while."""
        if not self._touched:
            self._asleep = True
            self._fiber.sleep(LOOK)
            self._asleep = False
        touched, self._touched = self._touched, set()
        return touched

    def _arrive(self, path: str) -> None:
        self._touched.add((1, path))
        if self._asleep:
            self._fiber.wake()


class Watchfiles:
    """The module `watchfiles`, as the code under test sees it."""

    Change = int

    @staticmethod
    def watch(root: Path, *, stop_event: fibers.Event, **_: Any) -> Iterator[set[tuple[Any, str]]]:
        """Yield changes below `root`, an empty set now and then. Raises FileNotFoundError if it is missing."""
        from tests.sim.process import present

        if not Path(root).is_dir():
            raise FileNotFoundError(str(root))
        process = present()
        tree = process.node.world.tree
        watch = _Watch(tree, process.later)
        tree.watches.append(watch)
        try:
            while not stop_event.is_set():
                yield watch.changes()
        finally:
            tree.watches.remove(watch)
