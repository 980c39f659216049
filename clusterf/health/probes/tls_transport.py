"""TLS on a connection, as a transport for a protocol that needs not know of it.

asyncio has that, too, but does handshakes in the loop's thread, which stops for as long as a server makes one
last (see `handshakes`). After the handshake, there is nothing that takes long.
"""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Awaitable, Callable
from typing import Any, Final

__all__ = ["HANDSHAKE_TOO_LONG", "MAX_HANDSHAKE", "TlsTransport"]

MAX_HANDSHAKE: Final = 32 << 10
"""Bytes that a server may send before the handshake is complete.

A chain of four certificates with everything in it has less than half of that, and one with the long keys and signatures
of ML-DSA, which are to come, about 20 KiB. A server gets half a minute of CPU time for each 64 KiB, at its worst.
"""
HANDSHAKE_TOO_LONG: Final = "TLS: handshake longer than 32 KiB"
_RECORD: Final = 16 << 10  # bytes to decrypt at a time: the most in a record

Do = Callable[[Callable[[], bool]], Awaitable[bool]]
"""Does a step of a handshake somewhere else; returns what it returns, or raises its exception."""


class TlsTransport(asyncio.Transport, asyncio.Protocol):
    """One connection: the protocol of a bare transport, and the transport of `protocol`.

    `exceeded` is called with the reason when the handshake is too long.
    """

    def __init__(
        self, context: ssl.SSLContext, name: str, protocol: asyncio.Protocol, exceeded: Callable[[str], None]
    ) -> None:
        super().__init__()
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        # to be used, as both buffers, by one thread at a time: during a step, not here
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=name)
        self._protocol = protocol
        self._exceeded = exceeded
        # bytes of the handshake that were received; and whether there are new ones, or an error
        self._length = 0
        self._arrived = asyncio.Event()
        self._open = False
        self._closing = False
        # why the connection ends, if it is for an error
        self._error: Exception | None = None

    async def connect(self, new: socket.socket, address: tuple[Any, ...], do: Do) -> None:
        """Connect a socket to a server, and shake hands; then the protocol has this transport.

        Raises OSError, of which ssl.SSLError is one. The socket is closed if this fails, or is cancelled.
        """
        loop = asyncio.get_running_loop()
        try:
            await loop.sock_connect(new, address)
            await loop.create_connection(lambda: self, sock=new)
        except BaseException:
            new.close()
            raise
        try:
            await self._shake_hands(do)
        except ssl.SSLError:
            self._flush()  # an alert
            self._bare.abort()
            raise
        except BaseException:
            self._bare.abort()
            raise

    async def _shake_hands(self, do: Do) -> None:
        # the first step is our own; further ones depend on what the server sends
        complete = self._step()
        while not complete:
            self._flush()
            await self._arrived.wait()
            self._arrived.clear()
            if self._incoming.pending:
                # nothing is received meanwhile
                self._bare.pause_reading()
                complete = await do(self._step)
                self._bare.resume_reading()
            elif self._error is not None:
                break
        if self._error is not None:
            raise self._error
        self._flush()
        self._open = True
        self._protocol.connection_made(self)
        self._decrypt()

    def _step(self) -> bool:
        """Do a step of the handshake; return whether it is complete. Raises ssl.SSLError."""
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        return True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the bare transport."""
        assert isinstance(transport, asyncio.Transport)
        self._bare = transport

    def data_received(self, data: bytes) -> None:
        """Take what was received."""
        if self._open:
            self._incoming.write(data)
            self._decrypt()
            return
        self._length += len(data)
        if self._length > MAX_HANDSHAKE:
            self._exceeded(HANDSHAKE_TOO_LONG)
            self._bare.abort()
        else:
            self._incoming.write(data)
            self._arrived.set()

    def _decrypt(self) -> None:
        try:
            while not self._closing:
                if not (data := self._tls.read(_RECORD)):
                    self._protocol.eof_received()
                    self.close()
                    return
                self._protocol.data_received(data)
        except ssl.SSLWantReadError:
            self._flush()
        except ssl.SSLError as error:
            self._flush()
            self._fail(error.with_traceback(None))  # which would refer to this

    def eof_received(self) -> None:
        """Note that the server sends nothing more; the connection is closed then."""
        if self._open:
            self._protocol.eof_received()
            self._closing = True
        else:
            self._lose(ConnectionResetError())

    def connection_lost(self, error: Exception | None) -> None:
        """Note that the connection has ended."""
        self._closing = True
        if self._open:
            self._protocol.connection_lost(self._error or error)
        else:
            self._lose(error or ConnectionResetError())

    def _lose(self, error: Exception) -> None:
        self._error = self._error or error
        self._arrived.set()

    def _fail(self, error: Exception) -> None:
        self._error = error
        self.abort()

    def _flush(self) -> None:
        if self._outgoing.pending and not self._bare.is_closing():
            self._bare.write(self._outgoing.read())

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Encrypt and send."""
        rest = memoryview(data)
        try:
            while rest and not self._closing:
                rest = rest[self._tls.write(rest) :]
        except ssl.SSLError as error:
            self._fail(error.with_traceback(None))
        self._flush()

    def close(self) -> None:
        """Say the end, and close the connection; the server's end is not waited for."""
        if not self._closing:
            self._closing = True
            with contextlib.suppress(ssl.SSLError):  # that the server has not said its end
                self._tls.unwrap()
            self._flush()
            self._bare.close()

    def abort(self) -> None:
        """Close the connection."""
        self._closing = True
        self._bare.abort()

    def is_closing(self) -> bool:
        """Tell whether nothing can be written any more."""
        return self._closing

    def pause_reading(self) -> None:
        """Read nothing until `resume_reading`."""
        self._bare.pause_reading()

    def resume_reading(self) -> None:
        """Read again."""
        self._bare.resume_reading()

    def pause_writing(self) -> None:
        """Have the protocol write nothing until `resume_writing`."""
        self._protocol.pause_writing()

    def resume_writing(self) -> None:
        """Have the protocol write again."""
        self._protocol.resume_writing()

    def get_write_buffer_size(self) -> int:
        """Return how many bytes wait to be sent."""
        return self._bare.get_write_buffer_size()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return what is known of the bare connection."""
        return self._bare.get_extra_info(name, default)
