"""The script of a simulation: how the world is set up, and what happens in it, and when.

A script follows from a seed. It is data, so that events can be left out of it, and so that a
script that has found something can be kept whatever becomes of the generator.
"""

import random
from dataclasses import dataclass

from tests.sim.edits import EDITS, SLOTS
from tests.sim.event import Event
from tests.sim.faults import FAULTS
from tests.sim.hosts.things import DOCKER_EDITS, DOCKER_FAULTS, OTHER_FAULTS

__all__ = ["Event", "Script", "script_of"]

SOURCES = ("etcd", "etcd", "tree")
HOW = ("at once", "additions first", "one by one")


@dataclass(frozen=True)
class Script:
    """A whole run. `seed` decides on all delays."""

    seed: int
    events: tuple[Event, ...]
    source: str = "etcd"
    nodes: int = 2
    services: int = 5
    # which check all services have at first, and by default
    check: int = 1
    removal_hold: float = 60.0
    # Docker hosts, whose containers are the backends then
    hosts: int = 0


def script_of(seed: int, source: str | None = None, length: int = 80) -> Script:
    """Return the script that follows from a seed, with its own source or the given one.

    The source "docker" is an etcd with Docker hosts, which no seed has by itself.
    """
    if source == "docker":
        return _docker_script(seed, length)
    chance = random.Random(seed)
    # a run has its favourites, so that rare things meet in some runs
    weights = [
        *(often * chance.choice((0, 1, 1, 3)) for often, _ in EDITS.values()),
        *(often * chance.choice((0, 1, 1, 3)) * (share := chance.choice((0.2, 1, 1))) for often, _ in FAULTS.values()),
    ]
    del share
    kinds = chance.choices([*EDITS, *FAULTS], weights, k=length)
    pace = chance.choice((0.3, 1.0, 1.0))
    slots = chance.choice((2, SLOTS, SLOTS))
    events = tuple(
        Event(
            round(_gap(chance) * pace, 3),
            kind,
            chance.randrange(slots if kind in EDITS else 16),
            chance.randrange(64),
            chance.choice((0, 0, 0, 1, 2)),
        )
        for kind in kinds
    )
    return Script(
        seed,
        events,
        source=source or SOURCES[seed % 3],
        nodes=chance.choice((1, 2, 2)),
        services=chance.randint(2, SLOTS),
        check=chance.choice((0, 1, 1, 1, 2)),
        removal_hold=chance.choice((20.0, 60.0)),
    )


def _gap(chance: random.Random) -> float:
    """Return the seconds to the next event: mostly bursts, at times a pause in which everything settles."""
    match chance.random():
        case luck if luck < 0.35:
            return round(chance.random() * 0.1, 3)
        case luck if luck < 0.7:
            return round(chance.random(), 2)
        case luck if luck < 0.97:
            return round(chance.random() * 6, 1)
        case _:
            return round(20 + chance.random() * 40)


def _docker_script(seed: int, length: int) -> Script:
    """Return a script about Docker hosts."""
    chance = random.Random(seed)
    weights = {kind: often * chance.choice((0, 1, 1, 3)) for kind, (often, _) in DOCKER_EDITS.items()}
    share = chance.choice((0.1, 0.5, 1, 1))
    others = OTHER_FAULTS | {kind: often for kind, (often, _) in DOCKER_FAULTS.items()}
    weights |= {kind: often * chance.choice((0, 1, 1, 3)) * share for kind, often in others.items()}
    kinds = chance.choices(list(weights), [weight + 1e-6 for weight in weights.values()], k=length)
    pace = chance.choice((0.3, 1.0, 1.0))
    events = tuple(
        Event(round(_gap(chance) * pace, 3), kind, chance.randrange(16), chance.randrange(64)) for kind in kinds
    )
    return Script(
        seed,
        events,
        nodes=1,
        services=chance.randint(1, 3),
        check=chance.choice((0, 1, 1, 1, 2)),
        removal_hold=chance.choice((20.0, 60.0)),
        hosts=chance.choice((1, 2, 2, 3)),
    )
