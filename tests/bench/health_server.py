"""All targets: one server on every loopback address, in its own process.

It accepts connections, answers any request as a healthy HTTP server, and closes.
"""

import asyncio
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvloop

from tests.bench.fleets import PORT

__all__ = ["serving"]

BACKLOG = 1 << 16  # more than the kernel allows
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 3\r\nConnection: close\r\n\r\nok\n"


@contextmanager
def serving() -> Iterator[None]:
    """Run the server."""
    process = subprocess.Popen([sys.executable, "-m", __name__], stdout=subprocess.PIPE)
    assert process.stdout is not None
    with process.stdout as stdout:
        assert stdout.readline(), "the server did not start"
        try:
            yield
        finally:
            process.terminate()
            process.wait()


class _Connection(asyncio.Protocol):
    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._transport.write(ANSWER)
        self._transport.close()


async def _serve() -> None:
    listener = socket.create_server(("", PORT), backlog=BACKLOG)
    server = await asyncio.get_running_loop().create_server(_Connection, sock=listener, backlog=BACKLOG)
    print("ready", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve())
