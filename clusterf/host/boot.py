"""The identity of this machine, boot and network namespace: what was recorded in another one is not true here."""

import os
from pathlib import Path

__all__ = ["boot_id", "machine_id", "namespace_id"]

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_MACHINE_ID = Path("/etc/machine-id")
_LONGEST = 128  # characters; it has 32


def boot_id() -> str:
    """Return the kernel's name for this boot, proc(5)."""
    return _BOOT_ID.read_text().strip()


def machine_id() -> str:
    """Return the name of this machine, machine-id(5), which clones of an image may have in common; empty: none."""
    try:
        return _MACHINE_ID.read_text()[:_LONGEST].strip()
    except (OSError, ValueError):
        return ""


def namespace_id() -> int:
    """Return the number of the network namespace of this process, during this boot."""
    return os.stat("/proc/self/ns/net").st_ino  # noqa: PTH116
