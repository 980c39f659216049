"""Events of a Docker engine, as frozen values."""

from collections.abc import Mapping
from typing import Any

import msgspec

from clusterf.docker.containers import convert
from clusterf.lib.signals import signal_number

__all__ = ["EngineEvent", "event_of"]


class EngineEvent(msgspec.Struct, frozen=True):
    """One event, of a container or a network or any other `type`.

    `action` is the bare one: `health_status`, not `health_status: healthy`.
    `time` is Unix time in nanoseconds, by the engine's clock. `signal` is the
    number of the signal of a `kill` event, else 0. `container` is the
    container that a `network` event concerns, else empty.
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


def event_of(raw: Mapping[str, Any]) -> EngineEvent:
    """Return the event that the engine's JSON holds. Raises ValueError with the reason why it holds none."""
    parsed = convert(raw, _Event)
    attributes = parsed.actor.attributes or {}
    action = parsed.action.partition(":")[0]
    return EngineEvent(
        type=parsed.type,
        action=action,
        id=parsed.actor.id,
        time=parsed.time_nano or parsed.time * 10**9,
        # any container may have a label `signal`, which the engine adds to the attributes of all its events
        signal=signal_number(attributes.get("signal", "")) if action == "kill" else 0,
        container=attributes.get("container", "") if parsed.type == "network" else "",
    )
