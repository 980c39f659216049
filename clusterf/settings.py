"""The settings of a node, as its children get them."""

from ipaddress import ip_network
from typing import Literal

import msgspec

from clusterf.resolve import Defaults
from clusterf.source import Source
from clusterf.table import Method

__all__ = ["Settings"]


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What the flags of `clusterf-node` say, checked.

    Times are in seconds. Nothing secret is in here, only where it is.
    """

    roles: tuple[str, ...]
    sources: tuple[Source, ...]
    filter_routes: str
    noop: bool
    once: bool
    once_timeout: float
    print_table: bool
    flush: bool
    removal_hold: float
    ipvs_scheduler: str
    ipvs_forward_method: Literal["masq", "droute", "tunnel"]
    ipvs_elide: bool
    ipvs_exclude: tuple[str, ...]
    resync_interval: float
    stuck_timeout: float
    state_dir: str | None
    runtime_dir: str
    log_format: Literal["text", "json"]
    log_level: str

    def defaults(self) -> Defaults:
        """Return what the node adds to the configuration."""
        return Defaults(
            scheduler=self.ipvs_scheduler,
            method=Method[self.ipvs_forward_method.upper()],
            exclude=tuple(ip_network(cidr, strict=False) for cidr in self.ipvs_exclude),
        )
