"""The real HTTP servers behind the node: one process, many addresses, each healthy or failing as it is ordered.

`python -m tests.soak.servers FILE` reads orders, one a line: `MODE ADDRESS PORT…`. It
answers each with an empty line when that is in force, and writes to FILE when it was
starved; `read` reads that. Modes:

- `healthy`: answers 200 with its address
- `failing`: answers 503
- `hanging`: accepts, and never answers
- `gone`: nobody listens; connections are refused
"""

import asyncio
import contextlib
import os
import sys
from pathlib import Path
from typing import IO

import msgspec

from tests.soak.history import Busy
from tests.soak.lag import watch

__all__ = ["FAILURES", "HEALTHY", "PRIORITY", "read"]

PRIORITY = -10  # of what is around the node: backends that are starved fail

HEALTHY = "healthy"
FAILURES = ("failing", "hanging", "gone")
REQUEST_LIMIT = 10.0  # seconds for a client to send its request


class Servers:
    """All servers, by address and port."""

    def __init__(self) -> None:
        self._modes: dict[str, str] = {}
        self._listening: dict[tuple[str, int], asyncio.Server] = {}
        self._hanging: dict[str, set[asyncio.StreamWriter]] = {}

    async def order(self, mode: str, address: str, ports: list[int]) -> None:
        """Have the server at an address behave so from now on."""
        self._modes[address] = mode
        for port in ports:
            await self._listen(address, port, open_=mode != "gone")
        for writer in self._hanging.pop(address, ()):
            writer.close()

    async def _listen(self, address: str, port: int, *, open_: bool) -> None:
        server = self._listening.get((address, port))
        if open_ and server is None:
            self._listening[address, port] = await asyncio.start_server(self._answer, address, port)
        elif not open_ and server is not None:
            del self._listening[address, port]
            server.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        address = writer.get_extra_info("sockname")[0]
        with contextlib.suppress(OSError, EOFError, TimeoutError):
            if self._modes[address] == "hanging":
                self._hanging.setdefault(address, set()).add(writer)
                return
            await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), REQUEST_LIMIT)
            status = "200 OK" if self._modes[address] == "healthy" else "503 Service Unavailable"
            body = address.encode()
            head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
            writer.write(head.encode() + body)
            await writer.drain()
        writer.close()


def read(path: Path) -> list[Busy]:
    """Return when the servers were starved."""
    return [msgspec.json.decode(line, type=Busy) for line in path.read_bytes().splitlines()]


async def main() -> None:
    """Follow orders until standard input ends."""
    os.setpriority(os.PRIO_PROCESS, 0, PRIORITY)
    servers = Servers()
    with Path(sys.argv[1]).open("wb", buffering=0) as out:  # noqa: ASYNC230 -- before anything runs
        watching = asyncio.create_task(watch("servers", lambda busy: print_line(out, busy)))
        await _follow(servers)
        watching.cancel()


def print_line(out: IO[bytes], busy: Busy) -> None:
    """Write one line."""
    out.write(msgspec.json.encode(busy) + b"\n")


async def _follow(servers: Servers) -> None:
    orders = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
    while line := (await orders.readline()).decode().split():
        mode, address, *ports = line
        await servers.order(mode, address, [int(port) for port in ports])
        print(flush=True)


if __name__ == "__main__":
    asyncio.run(main())
