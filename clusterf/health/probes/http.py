"""An HTTP probe without TLS and redirects. Most probes are of this kind, so it has to be cheap.

The request is sent on the bare socket of a TCP probe, and a full parser
(llhttp, by httptools) reads the response. A transport and a stream would cost
half as much again, a client library five times as much.
"""

from select import EPOLLIN, EPOLLOUT
from typing import Final

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from clusterf.health.probes import reasons
from clusterf.health.probes.http_request import (
    BODY_TOO_LONG,
    HEADERS_TOO_LONG,
    INTERIM_TOO_MANY,
    MAX_BODY,
    MAX_FRAMING,
    MAX_HEADERS,
    MAX_INTERIM,
    body_problem,
    first_request,
    status_ok,
)
from clusterf.health.probes.tcp import TcpProbe

__all__ = ["HttpProbe"]

_PIECE: Final = 16 << 10  # bytes to read at once


class HttpProbe(TcpProbe):
    """Connects, sends the request, and reads the response to its end.

    The parser calls the `on_…` methods while it is fed; `_parse` acts on what they recorded. What follows the
    end in one piece with it, such as another response, is not recorded.
    """

    __slots__ = (
        *("_body", "_complete", "_framed", "_head", "_interim", "_length"),
        *("_parser", "_received", "_status", "_unsent"),
    )

    def _connected(self) -> None:
        self._parser: HttpResponseParser | None = HttpResponseParser(self)
        self._received = 0
        # bytes before the piece in which the headers are complete
        self._head = 0
        # 1xx responses so far
        self._interim = 0
        # of the response, once its headers are complete; 1xx responses before it are skipped
        self._status = 0
        # whether the headers tell where the body ends; if not, it ends with the connection
        self._framed = False
        self._complete = False
        self._body: list[bytes] = []
        self._length = 0
        self._unsent = first_request(self.target).encoded()
        self._send()

    def _release(self) -> None:
        self._parser = None  # it refers to this probe
        super()._release()

    def _send(self) -> None:
        assert self._socket is not None
        try:
            sent = self._socket.send(self._unsent)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            self._fail_by(error.errno)
            return
        self._unsent = self._unsent[sent:]
        if self._unsent:
            self._poller.watch(self, self._descriptor, EPOLLIN | EPOLLOUT, self._exchange)
        else:
            self._poller.watch(self, self._descriptor, EPOLLIN, self._read)

    def _exchange(self) -> None:
        """Read a response that comes before the request is sent completely, and send more of the request."""
        self._read()
        if self._socket is not None:
            self._send()

    def _read(self) -> None:
        assert self._socket is not None
        try:
            data = self._socket.recv(_PIECE)
        except BlockingIOError:
            return
        except OSError as error:
            self._fail_by(error.errno)
            return
        if data:
            self._parse(data)
        elif self._status and not self._framed:
            self._judge()
        else:
            self._fail(reasons.CLOSED)

    def _parse(self, data: bytes) -> None:
        assert self._parser is not None
        if not self._status:
            self._head = self._received
        self._received += len(data)
        is_http = True
        try:
            self._parser.feed_data(data)
        except HttpParserUpgrade:
            self._complete = True
        except HttpParserError:
            is_http = False
        if self._interim > MAX_INTERIM:  # also if the end follows in the same piece
            self._fail(INTERIM_TOO_MANY)
        elif self._status and not status_ok(self.target.check, self._status):
            self._fail(f"HTTP {self._status}")
        elif self._length > MAX_BODY:
            self._fail(BODY_TOO_LONG)
        elif self._complete:
            # anything after the end is ignored
            self._judge()
        elif not is_http:
            self._fail(reasons.NOT_HTTP)
        elif not self._status and self._received > MAX_HEADERS:
            self._fail(HEADERS_TOO_LONG)
        elif self._status and self._received - self._head - self._length > _PIECE + MAX_FRAMING:
            self._fail(BODY_TOO_LONG)

    def _judge(self) -> None:
        if reason := body_problem(self.target.check, b"".join(self._body)):
            self._fail(reason)
        else:
            self._succeed()

    def on_message_begin(self) -> None:
        """Record that a response begins, possibly after a 1xx."""
        if not self._complete:
            self._framed = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """Record whether the header tells where the body ends."""
        lower = name.lower()
        if lower == b"content-length" or (lower == b"transfer-encoding" and b"chunked" in value.lower()):
            self._framed = True

    def on_headers_complete(self) -> None:
        """Record the status."""
        assert self._parser is not None
        if self._complete:
            return
        status = self._parser.get_status_code()
        if status >= 200 or status == 101:
            self._status = status
            self._complete = self.target.check.method == "HEAD"
        else:
            self._interim += 1

    def on_body(self, body: bytes) -> None:
        """Keep a part of the body."""
        if self._complete:
            return
        self._length += len(body)
        if self._length <= MAX_BODY:
            self._body.append(body)

    def on_message_complete(self) -> None:
        """Record that the response is complete."""
        self._complete = bool(self._status)
