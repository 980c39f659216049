"""Messages between RouteResolver, BackendMerger and IpvsWriter, with the data flow and against it."""

from typing import NamedTuple

from actors.link.messages import DoubtIs
from clusterf.director.merger import Merged
from clusterf.resolve.resolver import Resolved

__all__ = ["Credit", "MergedUpdate", "ResolvedUpdate"]


class ResolvedUpdate(NamedTuple):
    """Resolved objects that changed, from one frame of `link`, None: from none; `synced`: all were complete once.

    `doubts`: whether removals by a source are believed, where that changed. `partial`: the
    frame was full, so that the rest of a change may follow in another one. `complete`: the link was
    not lost since the whole configuration was received over it. `pulse`: the
    config process runs, and this is the last moment of which it knows its sources.
    """

    items: tuple[Resolved, ...]
    synced: bool
    link: str | None
    doubts: tuple[DoubtIs, ...] = ()
    partial: bool = False
    complete: bool = True
    pulse: float | None = None


class MergedUpdate(NamedTuple):
    """Wanted virtual and real servers that changed; `synced`: all that are wanted have been sent.

    `link` is the link of the frame that it comes from, None: it comes from none.
    `urgent`: it follows from verdicts, and is written before all else.
    """

    items: tuple[Merged, ...]
    synced: bool
    link: str | None = None
    urgent: bool = False


class Credit(NamedTuple):
    """A frame of `link` has arrived at the writer, so another one may follow. Sent upstream."""

    link: str
