"""Answers to HTTP probes, as bytes that arrive: `http-plain` for the plain probe, `http-client` for that of aiohttp."""

import asyncio
import re
import selectors
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import cache
from ipaddress import IPv4Address
from typing import Any, NamedTuple
from unittest.mock import patch

from aiohttp.client_reqrep import ClientRequest

from clusterf.config.model import HealthCheck
from clusterf.health.probes import http_client, reasons
from clusterf.health.probes.base import Probe
from clusterf.health.probes.bounded import BoundedConnector, Exceeded
from clusterf.health.probes.costs import Costs, Payer
from clusterf.health.probes.handshakes import Handshakes
from clusterf.health.probes.http import HttpProbe
from clusterf.health.probes.http_client import HttpClientProbe
from clusterf.health.probes.pauses import Pauses
from clusterf.health.probes.tls import Contexts
from clusterf.health.targets import Target as ProbeTarget
from clusterf.health.verdict import ProbeResult
from clusterf.lib.addresses import Endpoint
from tests.fuzz.http_grammar import mutate_http
from tests.fuzz.invariants import assert_printable, logged
from tests.fuzz.target import Target, parts, targets

__all__ = ["TARGETS"]

AT = Endpoint(IPv4Address("10.0.0.1").packed, 8080)
REASONS = re.compile(
    r"|HTTP [0-9]{1,3}|closed|reset|refused|timeout|not HTTP|headers: longer than 32 KiB|body: longer than 64 KiB"
    r"|1xx: more than 64 responses"
    r"|body: expect not found|body: expect_regex does not match|(too many|more than) .*"
    r"|redirects: (more than \d+|invalid URL|not an HTTP URL|not allowed.*)|TLS: .*"
)


class Case(NamedTuple):
    """A check, and what each connection answers: pieces, and how it ends."""

    check: HealthCheck
    answers: list[bytes]
    cut: int
    end: str

    def pieces(self, number: int) -> Iterator[bytes]:
        """Yield the pieces in which the answer of a connection arrives."""
        answer = self.answers[min(number, len(self.answers) - 1)]
        return (answer[at : at + self.cut] for at in range(0, len(answer), self.cut))


def case_of(data: bytes) -> Case:
    """Return the case that an input describes."""
    head, _, rest = data.partition(b"\n")
    words = head.decode("latin-1").split()[:20]
    numbers = {
        name: int(text) for name, _, text in (word.partition("=") for word in words) if re.fullmatch("[0-9]{1,4}", text)
    }
    method = next((word for word in words if word in ("HEAD", "POST")), "GET")
    check = HealthCheck(
        type="http",
        method=method,
        # (an answer to HEAD has no body, so `decode` refuses both)
        expect="OK" if "expect" in words and method != "HEAD" else "",
        expect_regex="O+K" if "regex" in words and method != "HEAD" else "",
        status=((100, 599),) if "any" in words else ((200, 200),) if "only-200" in words else ((200, 399),),
        redirects=min(numbers.get("redirects", 0), 10),
        timeout=2.0,
    )
    end = next((word for word in words if word in ("silent", "reset")), "closed")
    return Case(check, parts(rest), numbers.get("cut", 0) or 1 << 14, end)


class _Outcome:
    """Takes the result of a probe, once."""

    def __init__(self) -> None:
        self.reason: str | None = None

    def __call__(self, probe: Probe, result: ProbeResult) -> None:
        assert self.reason is None, "a probe ended twice"
        assert result.ok == (not result.reason)
        assert not result.local, "an answer is no fault of this machine"
        assert_printable(result.reason)
        assert REASONS.fullmatch(result.reason), f"not a known reason: {result.reason}"
        self.reason = result.reason


def _independent(ask: Callable[[Case], str], *, strict: bool) -> Callable[[bytes], str]:
    """Return the check that an answer counts for the same, however it is cut into pieces.

    Unless `strict`, only if it is valid: aiohttp does not show the headers of an answer if an
    error follows them in the same piece.
    """

    def check(data: bytes) -> str:
        case = case_of(data)
        with logged() as lines:
            reason = ask(case)
            other = ask(case._replace(cut=1 << 14 if case.cut < 1 << 14 else 1))
        lines = [line for line in lines if "Using selector" not in line]  # asyncio's own
        assert not lines, f"an answer is logged: {lines}"
        if strict or reasons.NOT_HTTP not in (reason, other):
            assert reason == other, f"by {case.cut} bytes: {reason or 'good'}; in other pieces: {other or 'good'}"
        return reason or "good"

    return check


class _Wire:
    """Socket, poller, loop and pauses of a plain probe: what is sent is taken, what the case answers is received."""

    def __init__(self, case: Case) -> None:
        self._pieces, self._end = case.pieces(0), case.end
        self.ready: Callable[[], None] | None = None
        self.expire: Callable[[], None] = lambda: None
        self.now = 0.0

    def send(self, data: bytes) -> int:
        return max(1, len(data) // 2)

    def recv(self, size: int) -> bytes:
        if piece := next(self._pieces, b""):
            assert len(piece) <= size
            return piece
        if self._end == "reset":
            raise ConnectionResetError(104, "reset")
        if self._end == "silent":
            self.expire()
            raise BlockingIOError
        return b""

    def watch(self, payer: Payer, descriptor: int, events: int, ready: Callable[[], None]) -> None:
        self.ready = ready

    def call_later(self, seconds: float, expire: Callable[[], None], *arguments: Any) -> "_Wire":
        def later() -> None:
            self.now += seconds
            expire(*arguments)

        self.expire = later
        return self

    def time(self) -> float:
        return self.now

    def total(self) -> float:
        return 0.0

    def nothing(self, *_: object) -> None: ...

    cancel = close = forget = nothing


class _Plain(HttpProbe):
    __slots__ = ()

    def _open(self) -> None:
        self._socket, self._descriptor = self._poller, 0  # type: ignore[assignment]
        self._connected()


def ask_plainly(case: Case) -> str:
    """Return the reason why the plain probe fails, empty if it does not."""
    wire, outcome = _Wire(case), _Outcome()
    _Plain(wire, ProbeTarget(AT, case.check), outcome, wire, wire).begin()  # type: ignore[arg-type]
    for _ in range(len(case.answers[0]) + 100):
        if outcome.reason is not None:
            return outcome.reason
        assert wire.ready is not None
        wire.ready()
    raise AssertionError("the probe goes on after the end")


class _Clock(selectors.SelectSelector):
    """A selector that never waits: time passes instead."""

    now = 0.0

    def select(self, timeout: float | None = None) -> Any:
        found = super().select(0)
        assert found or timeout is not None, "nothing would ever happen"
        if not found and timeout is not None and timeout > 0:
            self.now += timeout
        return found


class _Loop(asyncio.SelectorEventLoop):
    """A loop in whose time nothing is waited for, which notes what nobody has caught."""

    def __init__(self) -> None:
        self._passed = _Clock()
        super().__init__(self._passed)
        self.failed: dict[str, Any] | None = None
        self.set_exception_handler(lambda _, context: setattr(self, "failed", context))

    def time(self) -> float:
        return self._passed.now


class _Transport(asyncio.Transport):
    """A connection whose other end answers as the case says, once the request has come."""

    def __init__(self, protocol: Any, pieces: Iterator[bytes], end: str) -> None:
        super().__init__()
        self._protocol, self._pieces, self._end = protocol, pieces, end
        self._asked = self._paused = self._closed = False

    def write(self, data: Any) -> None:
        if not self._asked:
            self._asked = True
            asyncio.get_running_loop().call_soon(self._step)

    def _step(self) -> None:
        if self._paused or self._closed:
            return
        if piece := next(self._pieces, b""):
            self._protocol.data_received(piece)
            asyncio.get_running_loop().call_soon(self._step)
        elif self._end == "reset":
            self._lose(ConnectionResetError(104, "reset"))
        elif self._end == "closed":
            self._protocol.eof_received()
            self._lose(None)

    def _lose(self, error: Exception | None) -> None:
        if not self._closed:
            self._closed = True
            asyncio.get_running_loop().call_soon(self._protocol.connection_lost, error)

    def pause_reading(self) -> None:
        self._paused = True

    def resume_reading(self) -> None:
        self._paused = False
        asyncio.get_running_loop().call_soon(self._step)

    def close(self) -> None:
        self._lose(None)

    abort = close

    def is_closing(self) -> bool:
        return self._closed

    def get_write_buffer_size(self) -> int:
        return 0


class _Connector(BoundedConnector):
    """Connects to nothing but the case's answers, and only for requests to the target's address."""

    def __init__(self, loop: asyncio.AbstractEventLoop, exceeded: Exceeded, case: Case) -> None:
        super().__init__(loop, exceeded, self._no_tls, limit=0, force_close=True)
        self._case, self._number = case, 0

    async def _no_tls(self, *_: object) -> None:
        raise AssertionError("no request of a case is secure")

    async def _create_connection(self, req: ClientRequest, *_: Any) -> Any:
        assert req.url.raw_host == "10.0.0.1", f"a request to {req.url}"
        protocol = self._factory()
        protocol.connection_made(_Transport(protocol, self._case.pieces(self._number), self._case.end))
        self._number += 1
        return protocol


def ask_by_client(case: Case) -> str:
    """Return the reason why the probe by aiohttp fails, empty if it does not."""
    outcome = _Outcome()

    async def probe() -> None:
        done = asyncio.Event()

        def ended(probe: Probe, result: ProbeResult) -> None:
            done.set()
            outcome(probe, result)

        HttpClientProbe(
            loop, ProbeTarget(AT, case.check), ended, Pauses(loop), _contexts(), Costs(), Handshakes(loop)
        ).begin()
        await done.wait()
        for _ in range(5):  # in which nothing else may happen
            await asyncio.sleep(0)

    with (
        closing(_Loop()) as loop,
        patch.object(
            http_client, "BoundedConnector", lambda loop, exceeded, *_, **__: _Connector(loop, exceeded, case)
        ),
    ):
        loop.run_until_complete(probe())
        assert loop.failed is None, f"unexpected: {loop.failed}"
    return outcome.reason or ""


@cache
def _contexts() -> Contexts:
    return Contexts()


_COMMON = ("clusterf.health.probes.base", "clusterf.health.probes.http_request", "clusterf.health.probes.reasons")
_REDIRECTS = ("clusterf.health.probes.redirects",)
TARGETS = targets(
    {
        "http-plain": Target(
            _independent(ask_plainly, strict=True), ("clusterf.health.probes.http", *_COMMON), mutate_http
        ),
        "http-client": Target(
            _independent(ask_by_client, strict=False),
            ("clusterf.health.probes.http_client", "clusterf.health.probes.bounded", *_REDIRECTS, *_COMMON),
            mutate_http,
        ),
    }
)
