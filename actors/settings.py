"""The settings of a node as its processes get them, and the names of those processes and of their state files.

Every process loads this module: what a setting means to one of them only is
in that one's `process.py`.
"""

from pathlib import Path
from typing import Final, Literal

import msgspec

from clusterf.etcd.location import EtcdLocation
from clusterf.ipvs.sync import SyncDaemon
from clusterf.ipvs.table import MethodName
from clusterf.lib.addresses import Endpoint
from clusterf.sources.url import Source

__all__ = ["CONFIG", "DIRECTOR", "DOCKER", "HEALTH", "INCOMPLETE", "PROBE", "PROBE_INCOMPLETE", "Settings"]

# the names of processes, as their titles show them, and of the links on which they publish
CONFIG: Final = "config"
DIRECTOR: Final = "director"
DOCKER: Final = "docker"
HEALTH: Final = "health"  # with several of them followed by a number, from 1

# directories of their own for the user of the health processes, and beside them those of the others
PROBE: Final = "probe"  # in the state directory
PROBE_INCOMPLETE: Final = "incomplete-probe"  # in the runtime directory
INCOMPLETE: Final = "incomplete"


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The flags of `clusterf-node`, checked.

    Times are in seconds. There are no secrets in here, only the paths of the files that hold them.
    `state_dir` None: nothing is kept on disk.
    """

    node_name: str
    roles: tuple[str, ...]
    sources: tuple[Source, ...]
    filter_routes: str
    noop: bool
    once: bool
    once_timeout: float
    print_table: bool
    flush: bool
    removal_hold: float
    hold_share: int
    hold_least: int
    ipvs_scheduler: str
    ipvs_forward_method: MethodName
    ipvs_elide: bool
    ipvs_exclude: tuple[str, ...]
    vip_policy: Literal["open", "strict"]
    ipvs_sync: tuple[SyncDaemon, ...]
    ipvs_sysctl: tuple[tuple[str, int], ...]
    vip_interface: str | None
    health_processes: int
    health_references: tuple[Endpoint, ...]
    health_deny: tuple[str, ...]
    health_allow: tuple[str, ...]
    health_methods: tuple[str, ...]
    docker_endpoint: str | None
    docker_network: str
    docker_address: Literal["container", "host"]
    docker_services: tuple[str, ...]
    docker_max_weight: int
    docker_label_checks: Literal["basic", "full"]
    docker_stop_timeout: int
    host_addresses: tuple[str, ...]
    route_networks: tuple[str, ...]
    route_gateway4: str | None
    route_gateway6: str | None
    route_ipvs_method: MethodName | None
    etcd_ttl: int
    exit_flush: bool
    resync_interval: float
    stuck_timeout: float
    state_dir: str | None
    runtime_dir: str
    log_format: Literal["text", "json"]
    log_level: str

    def health_names(self) -> tuple[str, ...]:
        """Return the names of the health processes, in the order of their shards."""
        count = self.health_processes
        return (HEALTH,) if count == 1 else tuple(f"{HEALTH}{number}" for number in range(1, count + 1))

    def etcd_to_publish_in(self) -> EtcdLocation | None:
        """Return the etcd that containers are published in: of the sources that are an etcd the last, None without."""
        return next((source.etcd for source in reversed(self.sources) if source.etcd is not None), None)

    @property
    def config_file(self) -> Path | None:
        """The last-good copies of the sources."""
        return self._state_file("config.db")

    @property
    def director_file(self) -> Path | None:
        """The record of what in the kernel is ours."""
        return self._state_file("ipvs.db")

    @property
    def docker_file(self) -> Path | None:
        """The record of containers that are not to be reported anew."""
        return self._state_file("docker.db")

    def incomplete_directory(self, process: str) -> Path:
        """Return where a process notes that a state file could not be written: outlasts the node, but not the boot."""
        return Path(self.runtime_dir).parent / (PROBE_INCOMPLETE if process in self.health_names() else INCOMPLETE)

    @property
    def lease_file(self) -> Path | None:
        """The etcd lease that containers are published on."""
        return self._state_file("docker.lease")

    def health_file(self, name: str) -> Path | None:
        """Return the path of the stored verdicts of the health process called `name`."""
        return self._state_file(f"{PROBE}/{name}.db")

    def _state_file(self, name: str) -> Path | None:
        return Path(self.state_dir, name) if self.state_dir is not None else None
