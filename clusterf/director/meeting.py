"""What a real server is at which several backends meet."""

from collections.abc import Iterator, Sequence

import msgspec

from clusterf.config.keys import path_of
from clusterf.config.model import MAX_THRESHOLD, BackendKey, Name
from clusterf.config.problems import Problem, conflict
from clusterf.ipvs.table import RealServer, RealServerSettings
from clusterf.lib.text import escape

__all__ = ["MAX_WEIGHT", "merged", "overruled"]

MAX_WEIGHT = 65535
"""The kernel accepts more, but ipvsadm does not."""


def merged(members: Sequence[RealServerSettings], in_rotation: Sequence[bool]) -> RealServerSettings:
    """Return what a real server is at which `members` meet, the lowest backend name first.

    The weights of those in rotation are summed, up to `MAX_WEIGHT`. So are the
    thresholds of each kind; if one of them has none, there is none. If none is
    in rotation, the weight is 0, and the thresholds are those of all. The method
    and the tunnel are always those of the first.
    """
    if len(members) == 1:
        return members[0] if in_rotation[0] else msgspec.structs.replace(members[0], weight=0)
    counting = [member for member, counts in zip(members, in_rotation, strict=True) if counts]
    weight = min(sum(member.weight for member in counting), MAX_WEIGHT)
    upper = _threshold([member.upper for member in counting or members])
    lower = _threshold([member.lower for member in counting or members])
    return RealServerSettings(members[0].method, weight, upper, lower, members[0].tunnel)


def overruled(
    service: Name, names: Sequence[Name], members: Sequence[RealServerSettings], real: RealServer
) -> Iterator[Problem]:
    """Yield a conflict for each backend whose method or tunnel is not that of the first one, which counts."""
    for name, member in zip(names, members, strict=True):
        first = members[0]
        if member.method is not first.method or member.tunnel != first.tunnel:
            what = "method" if member.method is not first.method else "tunnel"
            reason = f"{what} ignored: {real} has that of backend {escape(names[0])}"
            yield conflict(path_of(BackendKey(service, name)), reason)


def _threshold(values: Sequence[int]) -> int:
    return min(sum(values), MAX_THRESHOLD) if all(values) else 0
