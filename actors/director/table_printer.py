"""Printing the kernel's table to standard output, for `--print`."""

import errno
import logging
import sys

from clusterf.ipvs import ipvsadm
from clusterf.ipvs.kernel import Kernel
from clusterf.lib.output import Output

__all__ = ["TablePrinter"]

log = logging.getLogger(__name__)

PATIENCE = 5.0  # seconds that the reader of the table may do without reading


class TablePrinter:
    """Prints the table as `ipvsadm -Sn` does, once after each change.

    `separate`: with an empty line after each table. Without `enabled` it prints nothing.
    """

    def __init__(
        self, kernel: Kernel, output: Output | None = None, *, enabled: bool = True, separate: bool = False
    ) -> None:
        self._kernel = kernel
        self._output = output or Output(sys.stdout)
        self._enabled = enabled
        self._end = "\n" if separate else ""
        # whether the table has been written, or not been printed at all, since it was printed last
        self._outdated = True
        # whether a table that was to be printed was not
        self.failed = False

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
            self.failed = True
            return
        self._write("".join(f"{line}\n" for line in ipvsadm.lines(table)) + self._end)

    def close(self) -> None:
        """Close what was opened for the output."""
        self._output.close()

    def _write(self, text: str) -> None:
        try:
            self._output.write(text, PATIENCE)
        except OSError as error:
            log.error("standard output: %s; printing stopped", error.strerror or error)
            self._enabled = False
            # (a reader that has gone has what it wanted)
            self.failed = error.errno != errno.EPIPE
