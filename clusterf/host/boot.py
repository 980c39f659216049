"""The identity of this boot, and of this network namespace: what was recorded in another one is not true here."""

import os
from pathlib import Path

__all__ = ["boot_id", "namespace_id"]

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def boot_id() -> str:
    """Return the kernel's name for this boot, proc(5)."""
    return _BOOT_ID.read_text().strip()


def namespace_id() -> int:
    """Return the number of the network namespace of this process, during this boot."""
    return os.stat("/proc/self/ns/net").st_ino  # noqa: PTH116
