"""Bounds on what a connection of aiohttp reads, as its parser has none that would stop a stream of small pieces.

A probe reads from servers that anyone may run. What they send costs this process time, which all probes share,
so each part of a response has its limit, and so have all bytes of a connection: of TLS, too,
which may go on with handshakes, keys and tickets for ever.
"""

import asyncio
import errno
import socket
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final

from aiohttp import ClientRequest, ClientTimeout, StreamReader, TCPConnector
from aiohttp.client_proto import ResponseHandler
from aiohttp.http import RawResponseMessage
from aiohttp.tracing import Trace

from clusterf.health.probes.http_request import (
    BODY_TOO_LONG,
    HEADERS_TOO_LONG,
    INTERIM_TOO_MANY,
    MAX_FRAMING,
    MAX_HEADERS,
    MAX_INTERIM,
)

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

__all__ = ["MAX_READ", "TOO_MUCH", "BoundedConnector", "BoundedSocket", "Exceeded", "Secure"]

Exceeded = Callable[[str], None]
"""Called with the reason when a limit is exceeded; nothing more is read then."""

Secure = Callable[[ClientRequest, ResponseHandler], Awaitable[None]]
"""Makes a connection with TLS for a request. Raises OSError."""

_PIECE: Final = 1 << 10  # bytes that are parsed at a time: between them, the limits are checked
_READ: Final = 16 << 10  # bytes that are read at a time: between them, other probes get their turn
MAX_READ: Final = 384 << 10
"""Bytes that are read from one socket: three times what a response may have, so that TLS has enough."""
TOO_MUCH: Final = "TLS: more than 384 KiB"


class BoundedSocket(socket.socket):
    """A socket that reads a limited number of bytes. The callbacks are to be set by the owner."""

    exceeded: Exceeded
    reading: Callable[[], None]
    """Called before each read."""
    # bytes read so far
    _received = 0

    def recv(self, size: int, flags: int = 0, /) -> bytes:
        """Read, as a socket does. Raises OSError, also once too much was read."""
        self.reading()
        data = super().recv(min(size, _READ), flags)
        self._count(len(data))
        return data

    def recv_into(self, buffer: "WriteableBuffer", size: int = 0, flags: int = 0, /) -> int:
        """Read, as a socket does. Raises OSError, also once too much was read."""
        self.reading()
        count = super().recv_into(buffer, min(size or memoryview(buffer).nbytes, _READ), flags)
        self._count(count)
        return count

    def _count(self, received: int) -> None:
        self._received += received
        if self._received > MAX_READ:
            self.exceeded(TOO_MUCH)
            raise ConnectionAbortedError(errno.ECONNABORTED, TOO_MUCH)


class BoundedConnector(TCPConnector):
    """Makes connections on which one response of limited length is read; those with TLS by `secure`."""

    def __init__(self, loop: asyncio.AbstractEventLoop, exceeded: Exceeded, secure: Secure, **options: Any) -> None:
        super().__init__(loop=loop, **options)
        self._secure = secure
        # a test sees to it that no other version of aiohttp makes connections in another way
        self._factory = lambda: _BoundedHandler(loop, exceeded)  # type: ignore[assignment]

    async def _create_connection(
        self,
        req: ClientRequest,
        traces: list[Trace],
        timeout: ClientTimeout,  # noqa: ASYNC109  # aiohttp's
    ) -> ResponseHandler:
        if not req.is_ssl():
            return await super()._create_connection(req, traces, timeout)
        handler = self._factory()
        await self._secure(req, handler)
        return handler


class _BoundedHandler(ResponseHandler):
    """Parses a response piece by piece, until it is complete or a limit is exceeded."""

    def __init__(self, loop: asyncio.AbstractEventLoop, exceeded: Exceeded) -> None:
        super().__init__(loop)
        self._exceeded = exceeded
        self._received = 0
        # 1xx responses so far
        self._interim = 0
        # the body of the response that counts, once its headers are complete; and the bytes received until then
        self._body: StreamReader | None = None
        self._head = 0
        self._ended = False

    def data_received(self, data: bytes) -> None:
        """Parse what was received; what follows the end of the response is ignored."""
        for start in range(0, len(data), _PIECE) if data else (0,):
            if self._ended or (self._body is not None and self._body.is_eof()):
                return
            piece = data[start : start + _PIECE]
            self._received += len(piece)
            super().data_received(piece)
            if reason := self._excess():
                self._ended = True
                self._exceeded(reason)

    def feed_data(self, data: tuple[RawResponseMessage, StreamReader], size: int = 0) -> None:
        """Take a response whose headers are complete."""
        message, body = data
        if self._body is None:  # what follows the response counts for nothing
            if message.code < 200 and message.code != 101:
                self._interim += 1
            else:
                self._body, self._head = body, self._received
        super().feed_data(data, size)

    def _excess(self) -> str:
        """Return which limit is exceeded, empty if none is."""
        if self._interim > MAX_INTERIM:
            return INTERIM_TOO_MANY
        if self._body is None:
            return HEADERS_TOO_LONG if self._received > MAX_HEADERS else ""
        return BODY_TOO_LONG if self._received - self._head - self._body.total_bytes > MAX_FRAMING else ""
