"""A process of a node: its capabilities, its actors, and its requests to the supervisor."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from actors.link.links import Links
from actors.settings import Settings

if TYPE_CHECKING:  # the supervisor loads this module, too, and has no actors
    import pykka

__all__ = ["Host", "Process", "Ref"]

Ref: TypeAlias = "pykka.ActorRef[Any]"


class Host(NamedTuple):
    """What an actor has from the process that it runs in: requests to it, and its links to other processes."""

    # stop the node, with this exit status
    finish: Callable[[int], None]
    # the table was flushed: a restarted process must not flush it again
    flushed: Callable[[], None]
    links: Links


class Process(NamedTuple):
    """A process of a node: the capabilities that it keeps, and a function that starts its actors.

    `start` returns the actors in the order of the data flow. Raises Unavailable
    with the reason if the node cannot work on this machine at all.
    """

    capabilities: frozenset[int]
    start: Callable[[Settings, Host], Sequence[Ref]]
