"""The control groups of a lab engine and of its containers."""

from contextlib import suppress
from pathlib import Path

from tests.waiting import wait_until

__all__ = ["control_groups", "remove_cgroup"]

_ROOT = Path("/sys/fs/cgroup")


def control_groups(name: str) -> list[Path]:
    """Return the control group `name` and those in it, parents first: at the top, or with version 1 a level below."""
    return sorted(path for pattern in (f"{name}/**/", f"*/{name}/**/") for path in _ROOT.glob(pattern))


def remove_cgroup(name: str) -> None:
    """Remove the control groups of an engine that has ended, and of its containers."""
    for folder in reversed(control_groups(name)):
        # the kernel takes a moment after the last process has gone
        wait_until(lambda folder=folder: _removed(folder))


def _removed(folder: Path) -> bool:
    with suppress(FileNotFoundError):
        try:
            folder.rmdir()
        except OSError:
            return False
    return True
