"""What a Docker engine tells as it happens: its events, as frozen values."""

from collections.abc import Mapping
from typing import Any

import msgspec

from clusterf.docker.containers import convert
from clusterf.docker.signals import signal_number

__all__ = ["Event", "event_of"]


class Event(msgspec.Struct, frozen=True):
    """Something happened to a container, a network or whatever else `type` names.

    `action` is the bare one: `health_status`, without what it became. `time`
    is Unix time in nanoseconds, by the engine's clock. `signal` is the number
    that a `kill` names, else 0. `container` is which container a `network`
    event is about, else it is empty.
    """

    type: str
    action: str
    id: str
    time: int
    signal: int = 0
    container: str = ""


class _Actor(msgspec.Struct):
    id: str = msgspec.field(name="ID", default="")
    attributes: dict[str, str] | None = msgspec.field(name="Attributes", default=None)


class _Event(msgspec.Struct, rename={"type": "Type", "action": "Action", "actor": "Actor", "time_nano": "timeNano"}):
    type: str
    action: str
    actor: _Actor
    time: int = 0
    time_nano: int = 0


def event_of(raw: Mapping[str, Any]) -> Event:
    """Return the event that the engine describes. Raises ValueError with the reason why it does not."""
    seen = convert(raw, _Event)
    attributes = seen.actor.attributes or {}
    action = seen.action.partition(":")[0]
    return Event(
        type=seen.type,
        action=action,
        id=seen.actor.id,
        time=seen.time_nano or seen.time * 10**9,
        # a label of the container may be called so as well: the engine then gives the label
        signal=signal_number(attributes.get("signal", "")) if action == "kill" else 0,
        container=attributes.get("container", "") if seen.type == "network" else "",
    )
