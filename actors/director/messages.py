"""What RouteResolver, BackendMerger and IpvsWriter tell each other."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from clusterf.director.merger import Merged
from clusterf.director.resolver import Resolved
from clusterf.ipvs.table import VirtualServer

__all__ = ["MergedUpdate", "ResolvedUpdate"]


class ResolvedUpdate(NamedTuple):
    """What became of changed objects; `synced`: all sources have been told as a whole."""

    items: tuple[Resolved, ...]
    synced: bool
    taken: Callable[[], None]


class MergedUpdate(NamedTuple):
    """What is wanted of changed virtual and real servers; `synced`: all of them have been told.

    `departed` is to be called with virtual servers that ceased to be wanted,
    once their removal has begun, or they turn out not to be there. `urgent`:
    it is to be written before all else, as it comes from verdicts.
    """

    items: tuple[Merged, ...]
    synced: bool
    taken: Callable[[], None]
    departed: Callable[[Sequence[VirtualServer]], None]
    urgent: bool = False
