"""A Docker engine, as far as it matters here: what it says of its containers and networks, and its events.

By the docker SDK's low-level client, which knows sockets and TLS. Events are
read without it: it would wait for them without a limit, and it decodes
characters that come in two parts wrongly. Whatever goes wrong is an
`EngineError`. What the engine says is returned as it is, for
`clusterf.docker.containers` and `clusterf.docker.events` to understand.
"""

import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from email.utils import parsedate_to_datetime
from typing import Any, Final, Literal, Self, TypeVar

import docker
import msgspec
import requests
import urllib3
from docker.constants import DEFAULT_DOCKER_API_VERSION
from docker.errors import APIError, DockerException
from docker.types import CancellableStream
from docker.utils import kwargs_from_env, parse_host

from clusterf.lib.tracebacks import clear_frames

__all__ = ["Engine", "EngineError", "Refused", "access_of"]

T = TypeVar("T")

DEFAULT: Final = "unix:///var/run/docker.sock"
CALL: Final = 5.0  # seconds that a call may take
SILENCE: Final = 300.0  # seconds without an event, after which a connection for events is not trusted any more
LONGEST: Final = 1 << 22  # bytes of an event
# what is executed in containers to probe them has events too, which can be very many
_FILTERS: Final = msgspec.json.encode(
    {
        "type": ["container", "network"],
        "event": [
            *["create", "start", "kill", "die", "stop", "oom", "pause", "unpause", "health_status", "rename"],
            *["update", "destroy", "connect", "disconnect", "remove"],
        ],
    }
).decode()
_URL: Final = re.compile(r"(unix|tcp|https?)://\S+")
_TROUBLE: Final = (
    *(DockerException, requests.RequestException, urllib3.exceptions.HTTPError, OSError, ValueError),
    # the SDK takes it that answers are of the right shape, and that a connection is closed by its own thread only
    *(AttributeError, LookupError, TypeError),
)


class EngineError(Exception):
    """The engine cannot be reached, or does not answer as an engine does."""


class Refused(EngineError):
    """The engine can be reached, but does not do this, or not in time."""


def access_of(url: str | None, environment: Mapping[str, str] = os.environ) -> dict[str, Any]:
    """Return what the SDK's client needs to get to the engine at `url`; None: to the one that the environment names.

    Raises ValueError with the reason why there is no way to it.
    """
    try:
        access: dict[str, Any] = kwargs_from_env(environment)
        access["base_url"] = url or access.get("base_url") or DEFAULT
        if not _URL.fullmatch(access["base_url"]):
            raise ValueError(f"{access['base_url']}: needs unix:///PATH or tcp://HOST:PORT")
        parse_host(access["base_url"], tls=bool(access.get("tls")))
    except DockerException as error:
        raise ValueError(f"{error}") from None
    return access


class Engine:
    """A connection to an engine, for one thread; `close` is for any.

    `version` is that of the API, found out unless given. All but `close` raise
    EngineError.
    """

    def __init__(self, url: str | None, version: str = "") -> None:
        self._url = url
        # where events come from
        self._stream: requests.Response | None = None
        self._client = _call(lambda: _client(url, version or _version(url)))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def version(self) -> str:
        """The version of the API that is spoken."""
        return str(self._client.api_version)

    def another(self) -> "Engine":
        """Return one more connection to the same engine."""
        return Engine(self._url, self.version)

    def close(self) -> None:
        """Let go of the engine; a thread that waits for events wakes up."""
        if self._stream is not None:
            # what this looks for in the response is not there if that has just ended by itself
            with suppress(OSError, AttributeError, DockerException):
                CancellableStream(iter(()), self._stream).close()
        self._client.close()

    def clock(self) -> int:
        """Return the Unix time by the engine's clock."""
        headers = self._get("/_ping", CALL).headers
        try:
            return int(parsedate_to_datetime(headers["Date"]).timestamp())
        except (KeyError, ValueError):
            raise EngineError("it does not tell the time") from None

    def containers(self) -> list[Any]:
        """Return every container, in short."""
        return _list(_call(lambda: self._client.containers(all=True)))

    def networks(self) -> list[Any]:
        """Return every network."""
        return _list(_call(self._client.networks))

    def inspect(self, kind: Literal["container", "network"], one: str) -> Any:
        """Return all that there is to say of a container or a network, None if there is no such thing."""
        ask = self._client.inspect_container if kind == "container" else self._client.inspect_network
        try:
            return _call(lambda: ask(one))
        except Refused as error:
            if isinstance(error.__cause__, docker.errors.NotFound):
                return None
            raise

    def events(self, since: str, until: str | None = None) -> Iterator[bytes]:
        """Yield what happens from the Unix time `since` on, as JSON; with `until`, a time that is over, the past only.

        What is long past an engine does not know any more.
        """
        times = {"since": since} if until is None else {"since": since, "until": until}
        path = f"/v{self.version}/events"
        self._stream = self._get(path, SILENCE if until is None else CALL, stream=True, filters=_FILTERS, **times)
        with self._stream as response:
            chunks, rest = response.iter_content(None), b""
            while chunk := _call(lambda: next(chunks, None)):
                *lines, rest = (rest + chunk).split(b"\n")
                yield from filter(None, lines)
                if len(rest) > LONGEST:
                    raise EngineError("it tells of an event without an end")

    def _get(self, path: str, timeout: float, *, stream: bool = False, **parameters: str) -> requests.Response:
        def get() -> requests.Response:
            url = f"{self._client.base_url}{path}"
            response: requests.Response = self._client.get(
                url, params=parameters, stream=stream, timeout=(CALL, timeout)
            )
            response.raise_for_status()
            return response

        return _call(get)


def _client(url: str | None, version: str) -> docker.APIClient:
    return docker.APIClient(version=version, timeout=CALL, **access_of(url))


def _version(url: str | None) -> str:
    """Return the newest version of the API that the engine speaks."""
    # the SDK would do so as it makes a client, but then leave connections open where that fails
    with _client(url, DEFAULT_DOCKER_API_VERSION) as client:
        version: str = client.version(api_version=False)["ApiVersion"]
        return version


def _list(found: object) -> list[Any]:
    if not isinstance(found, list):
        raise EngineError("it answers with something else than a list")
    return found


def _call(ask: Callable[[], T]) -> T:
    """Return what the SDK returns. Raises EngineError."""
    try:
        return ask()
    except APIError as error:
        raise Refused(str(error.explanation or error)) from error
    except requests.ReadTimeout as error:
        raise Refused(f"no answer within {CALL:g} seconds") from error
    except _TROUBLE as error:
        # else the sockets that the SDK could not connect stay open
        clear_frames(error)
        raise EngineError(_reason(error)) from error


def _reason(error: BaseException) -> str:
    """Return what the system says is wrong, if that is at the bottom of the error, else what the error says."""
    inner: BaseException | None = error
    while inner is not None:
        if isinstance(inner, OSError) and inner.strerror:
            return inner.strerror
        inner = inner.__cause__ or inner.__context__
    return (
        f"{type(error).__name__}: {error}"
        if isinstance(error, LookupError | TypeError | AttributeError)
        else str(error)
    )
