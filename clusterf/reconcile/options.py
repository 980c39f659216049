"""The flag for the settings of IPVS, which the daemon and the tool share."""

from clusterf.lib.options import parsed_by
from clusterf.reconcile.sysctls import parse_sysctls

__all__ = ["sysctls_of"]


def _pairs(text: str) -> tuple[tuple[str, int], ...]:
    return tuple(parse_sysctls(text).items())


sysctls_of = parsed_by(_pairs)
"""The callback of that flag, whose value is pairs of a name and a number."""
