"""The log of what is done to the kernel: each operation as the command that does the same."""

import logging
import os
from collections.abc import Sequence

from clusterf.ipvs import ipvsadm
from clusterf.ipvs.table import Step
from clusterf.lib.logs import Lines

__all__ = ["OperationLog", "log_prefix"]

log = logging.getLogger(__name__)


def log_prefix(*, noop: bool) -> str:
    """Return what the line of an operation begins with: whether it was done, or only would be."""
    return "ipvs noop" if noop else "ipvs"


class OperationLog:
    """Logs the steps that were applied to a kernel, or to its shadow with `noop`."""

    def __init__(self, *, noop: bool = False) -> None:
        self._prefix = log_prefix(noop=noop)

    def applied(self, steps: Sequence[Step], errors: Sequence[int]) -> None:
        """Log the steps that the kernel has done: those whose errno is 0."""
        if not log.isEnabledFor(logging.INFO):
            return
        done = (step for step, error in zip(steps, errors, strict=True) if not error)
        if lines := Lines(f"{self._prefix}: {ipvsadm.command(step)}" for step in done):
            log.info(lines)

    def flushed(self) -> None:
        """Log that every virtual server was removed."""
        log.info("%s: %s", self._prefix, ipvsadm.FLUSH)

    def failed(self, step: Step, error: int) -> None:
        """Log a step that the kernel refused, with the reason for its errno."""
        log.error("%s: failed: %s: %s", self._prefix, ipvsadm.command(step), os.strerror(error))
