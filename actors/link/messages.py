"""All that actors tell each other: immutable, keyed, and what *is* rather than what changed.

The newest message of a key makes the older ones worthless, and to lose or to
repeat one does no harm. Those of the first half also travel between processes
(`WireMessage`); the others stay within one.
"""

from typing import NamedTuple

import msgspec

from clusterf.config.model import Key, Value
from clusterf.config.problems import Problem
from clusterf.health.verdict import Verdict, VerdictKey

__all__ = [
    "ConfigMessage",
    "ProblemsAre",
    "ProblemsKey",
    "Received",
    "StateKey",
    "StateMessage",
    "Synced",
    "ValueIs",
    "VerdictIs",
    "WireMessage",
    "deletion_of",
    "is_deletion",
]


class ProblemsKey(NamedTuple):
    """The key of what is wrong with one path of one source."""

    source: str
    path: bytes


class ValueIs(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """The object of the configuration at `key` is `value`; None: there is none."""

    key: Key
    value: Value | None


class ProblemsAre(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """What is wrong with a path of a source is `value`; empty: nothing."""

    key: ProblemsKey
    value: tuple[Problem, ...]


class VerdictIs(msgspec.Struct, frozen=True, array_like=True, tag=3):
    """The endpoint at which a service's backend is probed is up or down; None: there is no verdict."""

    key: VerdictKey
    value: Verdict | None


class Synced(msgspec.Struct, frozen=True, array_like=True, tag=4):
    """The publisher has sent its whole state: keys that it has not sent are gone."""

    revision: int


ConfigMessage = ValueIs | ProblemsAre
StateMessage = ConfigMessage | VerdictIs
StateKey = Key | ProblemsKey | VerdictKey
WireMessage = StateMessage | Synced


def deletion_of(key: StateKey) -> StateMessage:
    """Return the message that there is nothing at `key`."""
    match key:
        case ProblemsKey():
            return ProblemsAre(key, ())
        case VerdictKey():
            return VerdictIs(key, None)
        case _:
            return ValueIs(key, None)


def is_deletion(message: StateMessage) -> bool:
    """Tell whether the message is that there is nothing at its key."""
    return message.value is None or message.value == ()


class Received(NamedTuple):
    """What came over `link` in one frame. It holds a credit of the subscription until that is told `acknowledge`."""

    messages: tuple[WireMessage, ...]
    link: str
