"""Which directories of a tree are below which mount points, to tell an unmounted file system from an empty one.

An unmounted file system leaves the directory beneath its mount point, which is
usually empty, and is indistinguishable from a deletion but for where it is. A
device number alone does not tell: it may be another one after each mount, or the same
one for the next file system (the kernel gives those of tmpfs and NFS out again).
"""

import errno
import os
from collections.abc import Callable, Mapping
from typing import NamedTuple

__all__ = ["Mounts", "Place"]


class Place(NamedTuple):
    """The resolved path of a directory, the mount point it is below, the number of its device, and its file system.

    `file_system` is the id that statvfs(3) has, None if it is not on record.
    """

    real: bytes
    mount: bytes
    device: int
    file_system: int | None = None

    def is_on_another(self, before: "Place") -> bool:
        """Tell whether the directory may be on another file system than before."""
        return self.device != before.device or before.file_system not in (None, self.file_system)


class Mounts:
    """The places of a tree's root, and of the directories on another file system than the directory above them."""

    def __init__(self) -> None:
        self._places: dict[bytes, Place] = {}

    @property
    def places(self) -> Mapping[bytes, Place]:
        """The places by path."""
        return self._places

    def expect(self, places: Mapping[bytes, Place]) -> None:
        """Take these as the places that the directories had before."""
        self._places.update(places)

    def accept(self) -> None:
        """Have the next checks believe what is there."""
        self._places.clear()

    def forget(self, path: bytes) -> None:
        """Forget a directory that is gone."""
        self._places.pop(path, None)

    def __contains__(self, path: bytes) -> bool:
        return path in self._places

    def check(self, path: bytes, absolute: bytes, device: int, lost: Callable[[], bool]) -> None:
        """Record the place of a directory; `lost` tells whether all files known below it are missing.

        Raises OSError if its file system was unmounted, or is another one that lacks all of the files.
        """
        real = os.path.realpath(absolute)
        place = Place(real, _mount_point(real, device), device, os.statvfs(real).f_fsid)
        before = self._places.get(path, place)
        # another resolved path: a symbolic link points elsewhere now
        if place.real == before.real:
            if len(place.mount) < len(before.mount):
                raise OSError(errno.ENODEV, "the file system is not mounted")
            if place.is_on_another(before) and lost():
                raise OSError(errno.ENODEV, "another file system is mounted, which has none of the known files")
        self._places[path] = place


def _mount_point(real: bytes, device: int) -> bytes:
    """Return the first directory, from `real` upwards, whose parent is on another device."""
    while real != b"/" and os.stat(os.path.dirname(real)).st_dev == device:  # noqa: PTH116, PTH120
        real = os.path.dirname(real)  # noqa: PTH120
    return real
