"""A process of a node: its privileges, its actors, and its requests to the supervisor."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from actors.link.links import Links
from actors.settings import Settings
from clusterf.host.seccomp import Sockets
from clusterf.lib.output import Output

if TYPE_CHECKING:  # the supervisor loads this module, too, and has no actors
    import pykka

__all__ = ["Host", "Process", "Ref"]

Ref: TypeAlias = "pykka.ActorRef[Any]"


class Host(NamedTuple):
    """What an actor has from the process that it runs in: requests to it, its links to others, standard output."""

    # stop the node, with this exit status
    finish: Callable[[int], None]
    # the table was flushed: a restarted process must not flush it again
    flushed: Callable[[], None]
    links: Links
    # standard output, if it was opened while that was permitted
    output: Output | None = None


class Process(NamedTuple):
    """A process of a node: the capabilities that it keeps, the sockets that it opens, and what starts its actors.

    `start` returns the actors in the order of the data flow. Raises Unavailable
    with the reason if the node cannot work on this machine at all. `lowers`: it gives threads the least priority.
    """

    capabilities: frozenset[int]
    sockets: Sockets
    start: Callable[[Settings, Host], Sequence[Ref]]
    lowers: bool = False
