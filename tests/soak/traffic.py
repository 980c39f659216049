"""Clients of the virtual servers: requests at a steady rate, each on a connection of its own.

`python -m tests.soak.traffic FILE RATE VIP…` makes RATE requests a second until
SIGTERM, writes a line for each that fails, and at the end how many were answered;
`read` reads that.
"""

import asyncio
import os
import signal
import sys
import time
from pathlib import Path
from typing import BinaryIO

import msgspec

from tests.soak.history import Busy, Request
from tests.soak.lag import watch
from tests.soak.servers import PRIORITY

__all__ = ["TIMEOUT", "read"]

TIMEOUT = 5.0  # seconds for a request
PORT = 80
REQUEST = b"GET / HTTP/1.1\r\nHost: soak\r\n\r\n"


async def _fetch(vip: str) -> str:
    """Return the status line of one request."""
    reader, writer = await asyncio.open_connection(vip, PORT)
    try:
        writer.write(REQUEST)
        answer = await reader.read()
        return answer.partition(b"\r\n")[0].decode(errors="replace")
    finally:
        writer.close()


class Clients:
    """Sends requests, and records those that fail."""

    def __init__(self, out: BinaryIO) -> None:
        self._out = out
        self._running: set[asyncio.Task[None]] = set()
        self._answered = 0

    async def run(self, vips: list[str], rate: float, stop: asyncio.Event) -> None:
        """Make requests until `stop`, to one virtual server after the other."""
        number = 0
        lag = asyncio.create_task(watch("clients", self._write))
        while not stop.is_set():
            task = asyncio.create_task(self._request(vips[number % len(vips)]))
            self._running.add(task)
            task.add_done_callback(self._running.discard)
            number += 1
            await asyncio.sleep(1 / rate)
        if self._running:
            await asyncio.wait(self._running)
        lag.cancel()
        self._write(self._answered)

    async def _request(self, vip: str) -> None:
        begin = time.monotonic()
        try:
            answer = await asyncio.wait_for(_fetch(vip), TIMEOUT)
        except TimeoutError:
            answer = "timeout"
        except OSError as error:
            answer = f"{error.strerror or error}"
        if answer == "HTTP/1.1 200 OK":
            self._answered += 1
        else:
            self._write(Request(begin, time.monotonic(), f"{vip}:{PORT}/tcp", answer or "closed"))

    def _write(self, line: Request | Busy | int) -> None:
        self._out.write(msgspec.json.encode(line) + b"\n")
        self._out.flush()


def read(path: Path) -> tuple[list[Request | Busy], int]:
    """Return the failed requests of a file and when clients were starved, and how many requests were answered."""
    *lines, answered = path.read_bytes().splitlines()
    return [msgspec.json.decode(line, type=Request | Busy) for line in lines], int(answered)


async def main() -> None:
    """Make requests until SIGTERM."""
    path, rate, *vips = sys.argv[1:]
    os.setpriority(os.PRIO_PROCESS, 0, PRIORITY)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    with Path(path).open("wb") as out:  # noqa: ASYNC230 -- before anything runs
        await Clients(out).run(vips, float(rate), stop)


if __name__ == "__main__":
    asyncio.run(main())
