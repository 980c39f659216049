"""A thin client of a Docker engine: its containers, networks and events, as the JSON that it sends.

Built on the docker SDK's low-level client, which knows sockets and TLS. Events
are read without it: the SDK waits for them without a limit, and decodes
characters that arrive in two parts wrongly. Every failure is an `EngineError`.
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

from clusterf.lib.text import printable
from clusterf.lib.tracebacks import clear_frames

__all__ = ["LONGEST_REASON", "Engine", "EngineError", "Refused", "client_options"]

T = TypeVar("T")

DEFAULT: Final = "unix:///var/run/docker.sock"
CALL: Final = 5.0  # seconds that a call may take
SILENCE: Final = 300.0  # seconds without an event, after which the event stream is taken as lost
LONGEST: Final = 1 << 22  # bytes of an event
LONGEST_REASON: Final = 300  # characters
_API_VERSION: Final = re.compile(r"[0-9]{1,3}\.[0-9]{1,3}", re.ASCII)
# without those of commands run in containers, such as health checks: there can be very many
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
    *(DockerException, requests.RequestException, urllib3.exceptions.HTTPError, OSError, ValueError, RecursionError),
    # the SDK does not check the shape of answers, nor expect another thread to close its connection
    *(AttributeError, LookupError, TypeError),
)


class EngineError(Exception):
    """The engine is unreachable, or does not answer as an engine does; the text, one printable line, says why."""

    def __init__(self, reason: str) -> None:
        super().__init__(printable(reason, LONGEST_REASON))


class Refused(EngineError):
    """The engine is reachable, but refused this call, or did not answer it in time."""


def client_options(url: str | None, environment: Mapping[str, str] = os.environ) -> dict[str, Any]:
    """Return the SDK client's arguments for the engine at `url`; None: for that of DOCKER_HOST, or this machine's.

    Raises ValueError with the reason why these settings are invalid.
    """
    try:
        options: dict[str, Any] = kwargs_from_env(environment)
        options["base_url"] = url or options.get("base_url") or DEFAULT
        if not _URL.fullmatch(options["base_url"]):
            raise ValueError(f"{options['base_url']}: expected unix:///PATH or tcp://HOST:PORT")
        parse_host(options["base_url"], tls=bool(options.get("tls")))
    except DockerException as error:
        raise ValueError(f"{error}") from None
    return options


class Engine:
    """A connection to an engine, for one thread; any thread may call `close`.

    `version` is the API version to use; by default the newest that the engine
    knows. All methods but `close` raise EngineError.
    """

    def __init__(self, url: str | None, version: str = "") -> None:
        self._url = url
        # the event stream, if there is one
        self._stream: requests.Response | None = None
        self._client = _call(lambda: _client(url, version or _version(url)))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def version(self) -> str:
        """The API version in use."""
        return str(self._client.api_version)

    def another(self) -> "Engine":
        """Return one more connection to the same engine."""
        return Engine(self._url, self.version)

    def close(self) -> None:
        """Close the connection; a thread that waits for events wakes up."""
        if self._stream is not None:
            # the response has no socket any more if it has just ended
            with suppress(OSError, AttributeError, DockerException):
                CancellableStream(iter(()), self._stream).close()
        self._client.close()

    def clock(self) -> int:
        """Return the Unix time by the engine's clock, in seconds."""
        headers = self._get("/_ping", CALL).headers
        try:
            return int(parsedate_to_datetime(headers["Date"]).timestamp())
        except (KeyError, ValueError):
            raise EngineError("invalid answer to a ping: no Date header") from None

    def id(self) -> str:
        """Return the name that the engine has given itself; empty: it does not say, or not in time."""
        try:
            found = _call(self._client.info)["ID"]
        except (EngineError, LookupError, TypeError):
            return ""
        return found[:LONGEST_REASON] if isinstance(found, str) else ""

    def containers(self) -> list[Any]:
        """Return a summary of every container."""
        return _list(_call(lambda: self._client.containers(all=True)))

    def networks(self) -> list[Any]:
        """Return every network."""
        return _list(_call(self._client.networks))

    def inspect(self, kind: Literal["container", "network"], object_id: str) -> Any:
        """Return the full description of a container or a network, None if there is none with this id."""
        ask = self._client.inspect_container if kind == "container" else self._client.inspect_network
        try:
            return _call(lambda: ask(object_id))
        except Refused as error:
            if isinstance(error.__cause__, docker.errors.NotFound):
                return None
            raise

    def events(self, since: str, until: str | None = None) -> Iterator[bytes]:
        """Yield events from the Unix time `since` on, as JSON; with `until`, a past time, only those before it.

        An engine keeps a limited number of past events.
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
                    raise EngineError(f"invalid event: longer than {LONGEST} bytes")

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
    return docker.APIClient(version=version, timeout=CALL, **client_options(url))


def _version(url: str | None) -> str:
    """Return the newest API version that the engine knows."""
    # the SDK's client can find out itself, but leaves connections open if that fails
    with _client(url, DEFAULT_DOCKER_API_VERSION) as client:
        version: str = client.version(api_version=False)["ApiVersion"]
    if not _API_VERSION.fullmatch(version):
        raise EngineError("invalid answer: no API version")
    return version


def _list(found: object) -> list[Any]:
    if not isinstance(found, list):
        raise EngineError("invalid answer: not a list")
    return found


def _call(ask: Callable[[], T]) -> T:
    """Call the SDK. Raises EngineError."""
    try:
        return ask()
    except APIError as error:
        raise Refused(str(error.explanation or error)) from error
    except requests.ReadTimeout as error:
        raise Refused(f"timed out after {CALL:g} seconds") from error
    except _TROUBLE as error:
        # the frames hold sockets that the SDK could not connect, and would keep them open
        clear_frames(error)
        raise EngineError(_reason(error)) from error


def _reason(error: BaseException) -> str:
    """Return the operating system's reason, if that is the root cause of the error, else the error's own."""
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
