"""The request of an HTTP check, and what a good response is."""

import socket
from functools import lru_cache
from typing import Final, NamedTuple
from urllib.parse import quote

from clusterf import __version__
from clusterf.config.model import HealthCheck
from clusterf.health.targets import Target
from clusterf.lib.addresses import Endpoint
from clusterf.lib.patterns import Pattern, compile_pattern

__all__ = [
    "BODY_TOO_LONG",
    "HEADERS_TOO_LONG",
    "INTERIM_TOO_MANY",
    "MAX_BODY",
    "MAX_FRAMING",
    "MAX_HEADERS",
    "MAX_INTERIM",
    "PORTS",
    "HttpRequest",
    "authority",
    "body_problem",
    "first_request",
    "status_ok",
]

MAX_BODY: Final = 64 << 10  # bytes
MAX_HEADERS: Final = 32 << 10  # bytes, of the responses before the one that counts, too
MAX_FRAMING: Final = 16 << 10  # bytes around the parts of a body, as in chunks: these take five at least
MAX_INTERIM: Final = 64  # 1xx responses
BODY_TOO_LONG: Final = "body: longer than 64 KiB"
HEADERS_TOO_LONG: Final = "headers: longer than 32 KiB"
INTERIM_TOO_MANY: Final = "1xx: more than 64 responses"
PORTS: Final = {"http": 80, "https": 443}
_OURS: Final = (("User-Agent", f"clusterf/{__version__}"), ("Accept", "*/*"))
_ASCII: Final = "".join(map(chr, range(0x21, 0x7F)))
_WITH_BODY: Final = {"POST", "PUT", "PATCH"}  # these have a Content-Length even without a body

Headers = tuple[tuple[str, str], ...]


class HttpRequest(NamedTuple):
    """A request to a port of the target, over TLS or not.

    `host` is the header Host; `headers` are all others but Content-Length.
    """

    scheme: str
    port: int
    host: str
    method: str
    path: str
    headers: Headers
    body: bytes

    @property
    def length(self) -> str | None:
        """The header Content-Length; None: it is not sent."""
        return str(len(self.body)) if self.body or self.method in _WITH_BODY else None

    def encoded(self) -> bytes:
        """Return the request in the bytes of HTTP/1.1."""
        lines = [f"{self.method} {self.path} HTTP/1.1", f"Host: {self.host}"]
        lines += [f"{name}: {text}" for name, text in self.headers]
        if self.length is not None:
            lines.append(f"Content-Length: {self.length}")
        return "\r\n".join([*lines, "", ""]).encode() + self.body


@lru_cache(maxsize=1 << 15)
def first_request(target: Target) -> HttpRequest:
    """Return the request that the check of `target` begins with."""
    check, at = target.check, target.endpoint
    scheme = "https" if check.type == "https" else "http"
    host = check.host or dict(_lower(check.headers)).get("host") or authority(at, scheme)
    path = quote(check.path.partition("#")[0], safe=_ASCII)
    return HttpRequest(scheme, at.port, host, check.method, path, _headers(check), check.body.encode())


def _lower(headers: Headers) -> Headers:
    return tuple((name.lower(), text) for name, text in headers)


def _headers(check: HealthCheck) -> Headers:
    spelled: dict[str, str] = {}
    for name, _ in check.headers:
        spelled.setdefault(name.lower(), name)
    return (
        *((name, text) for name, text in _OURS if name.lower() not in spelled),
        # each name in one spelling: aiohttp would let a second spelling override the first
        *((spelled[name], text) for name, text in _lower(check.headers) if name != "host"),
        ("Connection", "close"),
    )


def authority(at: Endpoint, scheme: str) -> str:
    """Return the address as in a URL, with the port unless it is the scheme's default."""
    if len(at.packed) == 4:
        address = socket.inet_ntop(socket.AF_INET, at.packed)
    else:
        address = f"[{socket.inet_ntop(socket.AF_INET6, at.packed)}]"
    return address if at.port == PORTS[scheme] else f"{address}:{at.port}"


def status_ok(check: HealthCheck, status: int) -> bool:
    """Tell whether `check` accepts the status code."""
    return any(low <= status <= high for low, high in check.status)


def body_problem(check: HealthCheck, body: bytes) -> str:
    """Return in what the body differs from what `check` expects, empty if in nothing."""
    if check.expect.encode() not in body:
        return "body: expect not found"
    if check.expect_regex and _pattern(check.expect_regex).search(body) is None:
        return "body: expect_regex does not match"
    return ""


@lru_cache(maxsize=1024)
def _pattern(text: str) -> Pattern:
    return compile_pattern(text)
