"""keepalived in this thread's network namespace, with its files in its own directory."""

import signal
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from tests.bench import rivals
from tests.bench.trees import PORT, VIP_PORT, WEIGHT, Shape, address, vip

__all__ = ["Keepalived", "configure", "of_shape", "running"]

PATIENCE = 120  # seconds until a line is logged
LOOK = 0.005  # seconds between reads of its log


class Keepalived:
    """A running keepalived and its log: a file, so that no reader is woken for each line."""

    def __init__(self, process: subprocess.Popen[bytes], log: IO[str]) -> None:
        self._process = process
        self._log = log
        self._said = ""

    def reload(self) -> None:
        """Have it reload its configuration."""
        self._process.send_signal(signal.SIGHUP)

    def wait_for(self, text: str) -> None:
        """Wait until `text` is logged, and skip the log up to there."""
        until = time.monotonic() + PATIENCE
        while text not in self._said:
            assert time.monotonic() < until, f"keepalived did not log {text!r}"
            time.sleep(LOOK)
            self._said += self._log.read()
        self._said = self._said.partition(text)[2]


def configure(directory: Path, lines: Iterable[str]) -> None:
    """Write its configuration."""
    _configuration(directory).write_text("".join(f"{line}\n" for line in lines))


def of_shape(shape: Shape, weights: Mapping[tuple[int, int], int]) -> Iterator[str]:
    """Yield the lines of a configuration for the table of `shape`, in which some backends have other weights.

    Nothing is checked, so that all real servers are there at once.
    """
    for service in range(shape.services):
        yield f"virtual_server {vip(service)} {VIP_PORT} {{\n lvs_sched wlc\n lvs_method NAT\n protocol TCP"
        for backend in range(shape.backends):
            weight = weights.get((service, backend), WEIGHT)
            yield f" real_server {address(service, backend)} {PORT} {{\n weight {weight}\n }}"
        yield "}"


@contextmanager
def running(directory: Path) -> Iterator[Keepalived]:
    """Run keepalived; its table stays."""
    # checks only, in the foreground
    flags = ["-C", "-n", "-l", "-I", "-f", str(_configuration(directory))]
    flags += ["-p", str(directory / "parent.pid"), "-c", str(directory / "checkers.pid")]
    path = directory / "keepalived.log"
    with path.open("w") as written, path.open() as log:
        process = subprocess.Popen(rivals.command("keepalived", *flags), stdout=written, stderr=written)
        try:
            yield Keepalived(process, log)
        finally:
            process.terminate()
            process.wait()


def _configuration(directory: Path) -> Path:
    return directory / "keepalived.conf"
