"""The identity of this boot of the machine: what was recorded in an earlier one is no longer true."""

from pathlib import Path

__all__ = ["boot_id"]

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def boot_id() -> str:
    """Return the kernel's name for this boot, proc(5)."""
    return _BOOT_ID.read_text().strip()
