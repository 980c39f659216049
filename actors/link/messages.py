"""All that actors tell each other: immutable, keyed, and what *is* rather than what changed.

The newest message of a key makes the older ones worthless, and to lose or to
repeat one does no harm. Those of the first half also travel between processes
(`WireMessage`); the others stay within one.
"""

from collections.abc import Hashable
from typing import NamedTuple

import msgspec

from clusterf.config.model import (
    Backend,
    BackendKey,
    Frontend,
    FrontendKey,
    HealthCheck,
    HealthKey,
    Key,
    Name,
    Route,
    RouteKey,
    Value,
)
from clusterf.config.problems import Problem
from clusterf.health.verdict import Verdict
from clusterf.lib.addresses import Endpoint

__all__ = [
    "BackendIs",
    "ConfigMessage",
    "FrontendIs",
    "HealthIs",
    "ProblemsAre",
    "ProblemsKey",
    "Received",
    "RouteIs",
    "StateMessage",
    "Synced",
    "VerdictIs",
    "VerdictKey",
    "WireMessage",
    "deletion_of",
    "message_for",
]


class ProblemsKey(NamedTuple):
    """The key of what is wrong with one path of one source."""

    source: str
    path: bytes


class FrontendIs(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """A service's frontend is `value`; None: it has none."""

    service: Name
    value: Frontend | None

    @property
    def key(self) -> FrontendKey:
        """What the message is about."""
        return FrontendKey(self.service)


class BackendIs(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """A service's backend is `value`; None: there is none of that name."""

    service: Name
    backend: Name
    value: Backend | None

    @property
    def key(self) -> BackendKey:
        """What the message is about."""
        return BackendKey(self.service, self.backend)


class HealthIs(msgspec.Struct, frozen=True, array_like=True, tag=3):
    """The health check of a service, or with None the cluster's default, is `value`; None: there is none."""

    service: Name | None
    value: HealthCheck | None

    @property
    def key(self) -> HealthKey:
        """What the message is about."""
        return HealthKey(self.service)


class RouteIs(msgspec.Struct, frozen=True, array_like=True, tag=4):
    """A route is `value`; None: there is none of that name."""

    route: Name
    value: Route | None

    @property
    def key(self) -> RouteKey:
        """What the message is about."""
        return RouteKey(self.route)


class ProblemsAre(msgspec.Struct, frozen=True, array_like=True, tag=5):
    """What is wrong with a path of a source; nothing, if `problems` is empty."""

    source: str
    path: bytes
    problems: tuple[Problem, ...]

    @property
    def key(self) -> ProblemsKey:
        """What the message is about."""
        return ProblemsKey(self.source, self.path)


class VerdictKey(NamedTuple):
    """The key of what the probes of one backend's endpoint have shown."""

    service: Name
    backend: Name
    endpoint: Endpoint


class VerdictIs(msgspec.Struct, frozen=True, array_like=True, tag=7):
    """The endpoint at which a service's backend is probed is up or down; None: there is no verdict."""

    service: Name
    backend: Name
    endpoint: Endpoint
    value: Verdict | None

    @property
    def key(self) -> VerdictKey:
        """What the message is about."""
        return VerdictKey(self.service, self.backend, self.endpoint)


class Synced(msgspec.Struct, frozen=True, array_like=True, tag=6):
    """The sender has told all it has: keys that it has not told are no more."""

    revision: int


ConfigMessage = FrontendIs | BackendIs | HealthIs | RouteIs | ProblemsAre
StateMessage = ConfigMessage | VerdictIs
WireMessage = StateMessage | Synced


def message_for(key: Key, value: Value | None) -> ConfigMessage:
    """Return the message that the object of `key` is `value`."""
    match key:
        case FrontendKey(service):
            assert value is None or isinstance(value, Frontend)
            return FrontendIs(service, value)
        case BackendKey(service, backend):
            assert value is None or isinstance(value, Backend)
            return BackendIs(service, backend, value)
        case HealthKey(service):
            assert value is None or isinstance(value, HealthCheck)
            return HealthIs(service, value)
        case RouteKey(route):
            assert value is None or isinstance(value, Route)
            return RouteIs(route, value)


def deletion_of(key: Hashable) -> StateMessage:
    """Return the message that there is nothing under `key`."""
    if isinstance(key, ProblemsKey):
        return ProblemsAre(*key, ())
    if isinstance(key, VerdictKey):
        return VerdictIs(*key, None)
    assert isinstance(key, FrontendKey | BackendKey | HealthKey | RouteKey)
    return message_for(key, None)


class Received(NamedTuple):
    """What came over `link` in one frame. It holds a credit of the subscription until that is told `acknowledge`."""

    messages: tuple[WireMessage, ...]
    link: str
