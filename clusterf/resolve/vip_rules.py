"""Who may claim a VIP: of the keys `vips/NAME` the longest prefix wins; of equal ones any may allow it."""

from collections.abc import Sequence

from clusterf.config.keys import path_of
from clusterf.config.model import Name, VipKey, VipRule
from clusterf.ipvs.table import VirtualServer
from clusterf.lib.patterns import matches_any
from clusterf.lib.text import escape
from clusterf.resolve.prefixes import PrefixTable

__all__ = ["VipRules"]

_SHOWN = 3  # keys in a reason


class VipRules(PrefixTable[VipRule]):
    """The keys of `vips/`, by name and by prefix. `strict`: what none of them covers may be claimed by no service."""

    def __init__(self, *, strict: bool) -> None:
        super().__init__()
        self._strict = strict

    def objection(self, service: Name, virtual: VirtualServer) -> str:
        """Return why `service` may not claim `virtual`, empty if it may.

        A fwmark has no address, so no key covers it; the address that its frontend may name is
        not what its packets are for.
        """
        if virtual.address is None:
            subject = f"fwmark {virtual.fwmark}"
            return f"{subject} is forbidden: no vips/ key can cover it (--vip-policy strict)" if self._strict else ""
        names = self._longest(virtual.address)
        subject = f"address {virtual.address}"
        if not names:
            return f"{subject} is forbidden: no vips/ key covers it (--vip-policy strict)" if self._strict else ""
        if any(matches_any(service, self._objects[name].services) for name in names):
            return ""
        keys = ", ".join(escape(path_of(VipKey(name))) for name in names[:_SHOWN])
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        return f"{subject} is forbidden: {keys}{more} ({self._objects[names[0]].prefix}) has it for other services"

    def _decision(self, names: Sequence[Name]) -> list[tuple[Name, VipRule]]:
        return [(name, self._objects[name]) for name in names]
