"""The messages that travel on links: immutable values, each the whole state of its key.

The newest message of a key replaces the older ones, so that losing or
repeating one does no harm.
"""

from typing import NamedTuple

import msgspec

from clusterf.config.model import Key, Value
from clusterf.config.problems import Problem
from clusterf.health.authorities import Authorities
from clusterf.health.verdict import Verdict, VerdictKey
from clusterf.sources.doubt import DoubtKind

__all__ = [
    "AuthoritiesAre",
    "AuthoritiesKey",
    "ConfigMessage",
    "ConfigWireMessage",
    "DoubtIs",
    "DoubtKey",
    "ProblemsAre",
    "ProblemsKey",
    "Pulse",
    "Received",
    "StateKey",
    "StateMessage",
    "Synced",
    "ValueIs",
    "VerdictIs",
    "VerdictWireMessage",
    "WireMessage",
    "deletion_of",
    "is_deletion",
]


class ProblemsKey(NamedTuple):
    """The key of the problems of one path of one source."""

    source: str
    path: bytes


class ValueIs(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """The object of the configuration at `key` is `value`; None: there is none.

    `local`: it is from files of this machine.
    """

    key: Key
    value: Value | None
    local: bool = False


class ProblemsAre(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """The problems of a path of a source are `value`; empty: it has none."""

    key: ProblemsKey
    value: tuple[Problem, ...]


class DoubtKey(NamedTuple):
    """The key of the doubt of one kind about one source."""

    source: str
    kind: DoubtKind = DoubtKind.SOURCE


class DoubtIs(msgspec.Struct, frozen=True, array_like=True, tag=5):
    """`value` says why there is this doubt about a source at present; None: there is none."""

    key: DoubtKey
    value: str | None


class VerdictIs(msgspec.Struct, frozen=True, array_like=True, tag=3):
    """The endpoint at which a service's backend is probed is up or down; None: there is no verdict."""

    key: VerdictKey
    value: Verdict | None


class AuthoritiesKey(NamedTuple):
    """The key of the authorities in one file."""

    path: str


class AuthoritiesAre(msgspec.Struct, frozen=True, array_like=True, tag=7):
    """What is known of a file of authorities is `value`; None: no check names it."""

    key: AuthoritiesKey
    value: Authorities | None


class Synced(msgspec.Struct, frozen=True, array_like=True, tag=4):
    """The publisher has sent its whole state: keys that it has not sent are gone."""

    revision: int


class Pulse(msgspec.Struct, frozen=True, array_like=True, tag=6):
    """The publisher runs, and has sent all that it knew when it sent this.

    `known` is the last moment, in seconds on the monotonic clock, of which it knows what its sources were.
    """

    known: float


ConfigMessage = ValueIs | ProblemsAre | DoubtIs | AuthoritiesAre
StateMessage = ConfigMessage | VerdictIs
StateKey = Key | ProblemsKey | DoubtKey | VerdictKey | AuthoritiesKey
ConfigWireMessage = ConfigMessage | Synced | Pulse
VerdictWireMessage = VerdictIs | Synced | Pulse
WireMessage = StateMessage | Synced | Pulse


def deletion_of(key: StateKey) -> StateMessage:
    """Return the message that deletes `key`."""
    match key:
        case ProblemsKey():
            return ProblemsAre(key, ())
        case DoubtKey():
            return DoubtIs(key, None)
        case VerdictKey():
            return VerdictIs(key, None)
        case AuthoritiesKey():
            return AuthoritiesAre(key, None)
        case _:
            return ValueIs(key, None)


def is_deletion(message: StateMessage) -> bool:
    """Tell whether the message deletes its key."""
    return message.value is None or message.value == ()


class Received(NamedTuple):
    """The messages of one frame of `link`. It holds a credit until `acknowledge` of the subscription is called."""

    messages: tuple[WireMessage, ...]
    link: str
