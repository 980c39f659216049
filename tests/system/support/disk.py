"""A small disk of its own below a directory, which can be filled and made read-only."""

import subprocess
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

__all__ = ["Disk"]

SIZE = 512  # KiB
_BLOCK = b"x" * 1024


class Disk:
    """A tmpfs at `folder`, until the `with` ends."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._filler = folder / "filler"

    def __enter__(self) -> Self:
        self.folder.mkdir(mode=0o700)
        _run("mount", "-t", "tmpfs", "-o", f"size={SIZE}k,mode=700", "tmpfs", self.folder)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        _run("umount", "--lazy", self.folder)

    def fill(self) -> None:
        """Leave no space on it."""
        with self._filler.open("ab", buffering=0) as filler, suppress(OSError):
            while True:
                filler.write(_BLOCK)

    def free(self) -> None:
        """Give the space back."""
        self._filler.unlink()

    def be(self, mode: str) -> None:
        """Make it read-only, "ro", which takes that no file is open to be written, or writable, "rw"."""
        _run("mount", "-o", f"remount,{mode}", self.folder)


def _run(*command: object) -> None:
    subprocess.run([str(word) for word in command], check=True)
