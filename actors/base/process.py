"""What makes a process of a node: its capabilities, its actors, and what it may ask of the supervisor."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from actors.settings import Settings

if TYPE_CHECKING:  # the supervisor loads this module, too, and has no actors
    import pykka

__all__ = ["Host", "Process", "Ref"]

Ref: TypeAlias = "pykka.ActorRef[Any]"


class Host(NamedTuple):
    """What the writer asks of the process that it lives in."""

    # end the node, with this exit status
    finish: Callable[[int], None]
    # take it that the table was flushed, so that a successor does not do it again
    flushed: Callable[[], None]


class Process(NamedTuple):
    """One process of a node: the capabilities it keeps, and how its actors are started, the first in the flow first.

    `start` raises `Unavailable` with the reason why the node cannot do its work here at all.
    """

    capabilities: frozenset[int]
    start: Callable[[Settings, Host], Sequence[Ref]]
