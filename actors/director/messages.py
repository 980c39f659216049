"""What RouteResolver, BackendMerger and IpvsWriter tell each other, with the flow and against it."""

from typing import NamedTuple

from clusterf.director.merger import Merged
from clusterf.director.resolver import Resolved
from clusterf.ipvs.table import VirtualServer

__all__ = ["Credit", "MergedUpdate", "RemovalBegun", "ResolvedUpdate"]


class ResolvedUpdate(NamedTuple):
    """What became of changed objects; `synced`: all sources have been told as a whole.

    It comes from a frame of `link`.
    """

    items: tuple[Resolved, ...]
    synced: bool
    link: str


class MergedUpdate(NamedTuple):
    """What is wanted of changed virtual and real servers; `synced`: all of them have been told.

    `link` is the link that its frame came over, None without one. `urgent`: it
    is to be written before all else, as it comes from verdicts.
    """

    items: tuple[Merged, ...]
    synced: bool
    link: str | None = None
    urgent: bool = False


class Credit(NamedTuple):
    """A frame of `link` has come through to the writer, so another one may follow. Goes upstream."""

    link: str


class RemovalBegun(NamedTuple):
    """The removal of these virtual servers has begun, or they are not there. Goes upstream."""

    virtuals: tuple[VirtualServer, ...]
