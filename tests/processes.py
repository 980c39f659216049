"""Processes that end with the test that starts them."""

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

__all__ = ["started"]


@contextmanager
def started(command: Sequence[Any], **options: Any) -> Iterator[subprocess.Popen[Any]]:
    """Run a command until the `with` ends, then kill it if it is still running."""
    with subprocess.Popen(command, **options) as process:
        try:
            yield process
        finally:
            process.kill()
