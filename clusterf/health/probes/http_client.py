"""An HTTP probe by aiohttp, for checks with TLS or redirects.

Each probe has a session and a connection of its own, so that probes share
nothing: no cookies, no kept connections, no proxies of the environment.
aiohttp is only given URLs with the target's own address.
"""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable
from typing import Any, Final, NamedTuple, NoReturn
from urllib.parse import urlsplit

from aiohttp import (
    ClientError,
    ClientHandlerType,
    ClientOSError,
    ClientPayloadError,
    ClientRequest,
    ClientResponse,
    ClientSession,
    ClientTimeout,
    DummyCookieJar,
    ServerDisconnectedError,
)
from aiohttp.abc import AbstractResolver
from aiohttp.client_proto import ResponseHandler
from aiohttp.http_exceptions import LineTooLong
from yarl import URL

from clusterf.config.model import HealthCheck
from clusterf.health.probes import reasons
from clusterf.health.probes.base import Probe
from clusterf.health.probes.bounded import BoundedConnector, BoundedSocket
from clusterf.health.probes.costs import Costs
from clusterf.health.probes.handshakes import Handshakes, Wait
from clusterf.health.probes.http_request import (
    BODY_TOO_LONG,
    HEADERS_TOO_LONG,
    MAX_BODY,
    MAX_HEADERS,
    HttpRequest,
    authority,
    body_problem,
    first_request,
    status_ok,
)
from clusterf.health.probes.pauses import Pauses
from clusterf.health.probes.redirects import REDIRECTS, BadRedirect, next_request
from clusterf.health.probes.tcp import SOCKET_TYPE, set_up, source_of
from clusterf.health.probes.tls import Contexts, NoAuthoritiesError, TlsError
from clusterf.health.probes.tls_transport import TlsTransport
from clusterf.health.targets import Target
from clusterf.health.verdict import ProbeResult
from clusterf.lib.addresses import Endpoint
from clusterf.lib.tracebacks import clear_frames

__all__ = ["HttpClientProbe"]

# bytes of the receive buffer: aiohttp parses all received data at once, and a flood of small 1xx responses would
# block the loop, and with it all other probes
_BUFFER: Final = 8 << 10
# not sent unless the check has them; the other headers that aiohttp would add are always given
_NOT_ADDED: Final = ("Accept-Encoding", "Content-Type")


class HttpClientProbe(Probe):
    """Sends the request, and follows as many redirects as the check allows."""

    __slots__ = ("_contexts", "_costs", "_handshakes", "_sockets", "_task", "wait")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        target: Target,
        ended: Callable[[Probe, ProbeResult], None],
        pauses: Pauses,
        contexts: Contexts,
        costs: Costs,
        handshakes: Handshakes,
    ) -> None:
        super().__init__(loop, target, ended, pauses)
        self._costs = costs
        self._contexts = contexts
        self._handshakes = handshakes
        # for threads
        self.wait = Wait()
        self._sockets: list[BoundedSocket] = []

    def _open(self) -> None:
        self._task: asyncio.Task[_Failed | None] | None = self._loop.create_task(self._costs.steps(self, self._run))
        self._task.add_done_callback(self._ran)

    def _release(self) -> None:
        if self._task is not None:
            self._task.cancel()
        for each in self._sockets:
            # otherwise a target that ignores the end of TLS would keep it open; it may be closed already
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            # breaks a cycle
            each.exceeded, each.reading = _ignore, _do_nothing

    def _ran(self, task: "asyncio.Task[_Failed | None]") -> None:
        if task.cancelled():
            # breaks a cycle: the task's error refers to this probe, and to a TLS buffer of 256 KiB
            self._task = None
            return
        if error := task.exception():
            # unexpected: a failure of the probe, and reported by the loop
            self._fail(f"failed: {type(error).__name__}")
            self._loop.call_exception_handler({"message": f"probe of {self.target.endpoint}", "exception": error})
        elif failed := task.result():
            self._end(failed.reason, local=failed.local)
        else:
            self._succeed()

    async def _run(self) -> "_Failed | None":
        try:
            async with self._session() as session:
                return await self._request(session)
        except (ClientError, OSError, RuntimeError, ValueError) as error:
            clear_frames(error)
            return _explained(error)
        except _NotRetried as failed:
            clear_frames(failed.error)
            return _explained(failed.error)

    def _session(self) -> ClientSession:
        connector = BoundedConnector(
            self._loop,
            self._fail,
            self._connect_securely,
            resolver=_NoNames(),
            use_dns_cache=False,
            force_close=True,
            limit=0,
            socket_factory=self._new_socket,
        )
        return ClientSession(
            connector=connector,
            cookie_jar=DummyCookieJar(),
            auto_decompress=False,
            skip_auto_headers=_NOT_ADDED,
            # none: the probe has its own
            timeout=ClientTimeout(),
            max_line_size=MAX_HEADERS,
            max_field_size=MAX_HEADERS,
            middlewares=(_only_once,),
        )

    def _new_socket(self, address: tuple[Any, ...]) -> socket.socket:
        new = BoundedSocket(address[0], SOCKET_TYPE)
        new.exceeded = self._fail
        new.reading = self._pay
        set_up(new, source_of(self.target))
        new.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
        self._sockets.append(new)
        return new

    async def _connect_securely(self, request: ClientRequest, handler: ResponseHandler) -> None:
        assert isinstance(request.ssl, ssl.SSLContext)
        assert request.server_hostname is not None
        name = request.server_hostname.rstrip(".")  # as in certificates
        transport = TlsTransport(request.ssl, name, handler, self._fail)
        at = self.target.endpoint
        family = socket.AF_INET if len(at.packed) == 4 else socket.AF_INET6
        address = (socket.inet_ntop(family, at.packed), request.port)
        new = self._new_socket((family,))
        await transport.connect(new, address, lambda step: self._handshakes.do(self, step))

    def _held_up(self) -> float:
        return self.wait.total(self._loop.time())

    def _pay(self) -> None:
        """Pay for what follows from data that is read: decrypting and parsing it."""
        self._costs.enter(self)
        self._loop.call_soon(self._costs.leave)

    async def _request(self, session: ClientSession) -> "_Failed | None":
        check = self.target.check
        request = first_request(self.target)
        for _ in range(check.redirects + 1):
            async with await self._send(session, request) as response:
                location = response.headers.get("Location")
                if not check.redirects or response.status not in REDIRECTS or location is None:
                    return await _judge(check, response)
            request = next_request(request, response.status, location)
        return _Failed(f"redirects: more than {check.redirects}")

    async def _send(self, session: ClientSession, request: HttpRequest) -> ClientResponse:
        at = authority(Endpoint(self.target.endpoint.packed, request.port), request.scheme)
        secure = request.scheme == "https"
        return await session.request(
            request.method,
            URL(f"{request.scheme}://{at}{request.path}", encoded=True),
            headers=[("Host", request.host), *request.headers],
            data=request.body or None,
            allow_redirects=False,
            ssl=self._contexts.get(self.target.check.tls) if secure else True,
            server_hostname=self._server_name(request.host) if secure else None,
        )

    def _server_name(self, host: str) -> str:
        """Return the name, or address, that the certificate has to be for. Raises TlsError.

        A name is also sent to the target (SNI).
        """
        check = self.target.check
        if check.tls.server_name and host == first_request(self.target).host:
            return check.tls.server_name
        try:
            name = urlsplit(f"//{host}").hostname or ""
            if not name.encode("idna"):
                raise ValueError
        except ValueError:
            if check.tls.verify:
                raise TlsError("host is not a valid name") from None
            return str(self.target.endpoint.address)
        return name


class _Failed(NamedTuple):
    """Why a probe failed."""

    reason: str
    local: bool = False


class _NotRetried(Exception):
    """Wraps an error after which aiohttp would send the request again."""

    def __init__(self, error: ClientError) -> None:
        super().__init__()
        self.error = error


class _NoNames(AbstractResolver):
    """Refuses to resolve names: URLs of probes have addresses."""

    async def resolve(self, host: str, port: int = 0, family: int = socket.AF_INET) -> NoReturn:  # noqa: ARG002
        raise OSError(f"no probe resolves names: {host}")

    async def close(self) -> None:
        """Do nothing."""


def _do_nothing() -> None:
    """Do nothing: the probe has ended."""


def _ignore(reason: str) -> None:
    """Do nothing: the probe has ended."""


async def _only_once(request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
    """Prevent the second request that aiohttp sends when a connection ends before the response."""
    try:
        return await handler(request)
    except (ClientOSError, ServerDisconnectedError) as error:
        raise _NotRetried(error) from None


async def _judge(check: HealthCheck, response: ClientResponse) -> _Failed | None:
    if not status_ok(check, response.status):
        return _Failed(f"HTTP {response.status}")
    body = bytearray()
    async for piece in response.content.iter_any():
        body += piece
        if len(body) > MAX_BODY:
            return _Failed(BODY_TOO_LONG)
    reason = body_problem(check, bytes(body))
    return _Failed(reason) if reason else None


def _explained(error: Exception) -> _Failed:
    """Return the reason for an exception, and whether it is local."""
    cause: BaseException = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    match cause:
        case TlsError():
            return _Failed(f"TLS: {cause}", local=isinstance(cause, NoAuthoritiesError))
        case BadRedirect():
            return _Failed(str(cause))
        case ssl.SSLError():
            return _Failed(reasons.of_tls(cause))
        case LineTooLong():
            return _Failed(HEADERS_TOO_LONG)
        case ServerDisconnectedError():
            return _Failed(reasons.CLOSED)
        case OSError():
            return _Failed(reasons.of_errno(cause.errno), reasons.is_local(cause.errno))
        case _:
            return _Failed(reasons.CLOSED if isinstance(error, ClientPayloadError) else reasons.NOT_HTTP)
