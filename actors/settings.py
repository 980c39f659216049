"""The settings of a node, as its children get them."""

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from pathlib import Path
from typing import Literal

import msgspec

from clusterf.director.virtual_servers import Defaults
from clusterf.docker.addresses import Addressing
from clusterf.docker.routes import Routing
from clusterf.etcd.location import EtcdLocation
from clusterf.ipvs.sync import SyncDaemon
from clusterf.ipvs.table import Method
from clusterf.lib.addresses import Endpoint
from clusterf.sources.url import Source

__all__ = ["Settings", "state_path"]


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
    ipvs_sync: tuple[SyncDaemon, ...]
    ipvs_sysctl: tuple[tuple[str, int], ...]
    vip_interface: str | None
    health_processes: int
    health_references: tuple[Endpoint, ...]
    docker_endpoint: str | None
    docker_network: str
    docker_address: Literal["container", "host"]
    host_addresses: tuple[str, ...]
    route_networks: tuple[str, ...]
    route_gateway4: str | None
    route_gateway6: str | None
    route_ipvs_method: Literal["masq", "droute", "tunnel"] | None
    etcd_ttl: int
    exit_flush: bool
    resync_interval: float
    stuck_timeout: float
    state_dir: str | None
    runtime_dir: str
    log_format: Literal["text", "json"]
    log_level: str

    def health_names(self) -> tuple[str, ...]:
        """Return the names of the processes that probe, by their shard."""
        count = self.health_processes
        return ("health",) if count == 1 else tuple(f"health{number}" for number in range(1, count + 1))

    def health_sockets(self) -> tuple[Path, ...]:
        """Return where those processes publish their verdicts."""
        return tuple(Path(self.runtime_dir, f"{name}.sock") for name in self.health_names())

    def defaults(self) -> Defaults:
        """Return what the node adds to the configuration."""
        return Defaults(
            scheduler=self.ipvs_scheduler,
            method=Method[self.ipvs_forward_method.upper()],
            exclude=tuple(ip_network(cidr, strict=False) for cidr in self.ipvs_exclude),
            synced=bool(self.ipvs_sync),
        )

    def published_to(self) -> EtcdLocation | None:
        """Return the etcd that backends are published in: of several sources that are one the last; None: none is."""
        return next((source.etcd for source in reversed(self.sources) if source.etcd is not None), None)

    def addressing(self) -> Addressing:
        """Return how containers are published."""
        addresses = [ip_address(text) for text in self.host_addresses]
        return Addressing(
            network=self.docker_network,
            host=self.docker_address == "host",
            host4=next((address for address in addresses if isinstance(address, IPv4Address)), None),
            host6=next((address for address in addresses if isinstance(address, IPv6Address)), None),
        )

    def routing(self) -> Routing:
        """Return how networks of containers are advertised."""
        return Routing(
            networks=frozenset(self.route_networks),
            gateway4=IPv4Address(self.route_gateway4) if self.route_gateway4 else None,
            gateway6=IPv6Address(self.route_gateway6) if self.route_gateway6 else None,
            method=self.route_ipvs_method,
        )


def state_path(settings: Settings, name: str) -> Path | None:
    """Return where the node keeps the file `name`; None: it keeps nothing on disk."""
    return Path(settings.state_dir, name) if settings.state_dir is not None else None
