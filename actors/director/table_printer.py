"""Printing the kernel's table to standard output, for `--print`."""

import logging
import sys

from clusterf.ipvs import ipvsadm
from clusterf.ipvs.kernel import Kernel

__all__ = ["TablePrinter"]

log = logging.getLogger(__name__)


class TablePrinter:
    """Prints the table as `ipvsadm -Sn` does, once after each change.

    `separate`: with an empty line after each table. Without `enabled` it prints nothing.
    """

    def __init__(self, kernel: Kernel, *, enabled: bool, separate: bool) -> None:
        self._kernel = kernel
        self._enabled = enabled
        self._end = "\n" if separate else ""
        # whether the table has been written, or not been printed at all, since it was printed last
        self._outdated = True

    def changed(self) -> None:
        """Note that the table has been written."""
        self._outdated = True

    def print(self) -> None:
        """Print the table if it has changed. Trouble is logged; when nobody reads the output, printing ends."""
        if not self._enabled or not self._outdated:
            return
        self._outdated = False
        try:
            # the table that is in the kernel, not the one that the reconciler assumes
            table = self._kernel.read()
        except OSError as error:
            log.error("ipvs: the table cannot be read for printing: %s", error.strerror or error)
            return
        self._write("".join(f"{line}\n" for line in ipvsadm.lines(table)) + self._end)

    def _write(self, text: str) -> None:
        try:
            sys.stdout.write(text)
            sys.stdout.flush()
        except OSError as error:
            log.error("standard output: %s; printing stopped", error.strerror or error)
            self._enabled = False
