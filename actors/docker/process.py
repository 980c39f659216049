"""The wiring of the docker process."""

from functools import partial
from ipaddress import IPv4Address, IPv6Address, ip_address

from actors.base.process import Host, Ref
from actors.docker.docker_watcher import DockerWatcher
from actors.docker.key_publisher import KeyPublisher
from actors.docker.noop_publisher import NoopPublisher
from actors.docker.record_keeper import Owner
from actors.settings import Settings
from clusterf.docker.addresses import Addressing
from clusterf.docker.engine import Engine, client_options
from clusterf.docker.inventory import Inventory
from clusterf.docker.labels import LabelRules
from clusterf.docker.routes import Routing, route_of_node
from clusterf.host.boot import boot_id, machine_id
from clusterf.leases.claims import Claims
from clusterf.leases.lease_file import Machine
from clusterf.leases.leased_keys import LeasedKeys
from clusterf.lib.store import Store

__all__ = ["start"]


def start(name: str, settings: Settings, host: Host) -> list[Ref]:
    """Start the actors; return them in the order of the flow."""
    del name, host
    location = settings.etcd_to_publish_in()
    assert location is not None
    machine = Machine(machine_id(), boot_id())
    publisher: Ref = (
        NoopPublisher.start(location)
        if settings.noop
        else KeyPublisher.start(
            *(location, settings.etcd_ttl, settings.lease_file),
            machine=machine,
            leave_nothing=settings.exit_flush,
            claims=Claims(LeasedKeys(), settings.node_name, partial(route_of_node, node=settings.node_name)),
        )
    )
    watcher = DockerWatcher.start(
        client_options(settings.docker_endpoint)["base_url"],
        lambda: Engine(settings.docker_endpoint),
        partial(
            Inventory,
            _addressing(settings),
            _routing(settings),
            publisher=settings.node_name,
            rules=_rules(settings),
            stop_seconds=settings.docker_stop_timeout,
        ),
        # what it says of a run of a container stays true
        lambda: Store(settings.docker_file, read_only=settings.noop, keep_stale=True),
        settings.resync_interval,
        publisher,
        Owner(machine.id, machine.boot),
    )
    return [watcher, publisher]


def _addressing(settings: Settings) -> Addressing:
    """Return how containers are published."""
    addresses = [ip_address(text) for text in settings.host_addresses]
    return Addressing(
        network=settings.docker_network,
        host=settings.docker_address == "host",
        host4=next((address for address in addresses if isinstance(address, IPv4Address)), None),
        host6=next((address for address in addresses if isinstance(address, IPv6Address)), None),
    )


def _routing(settings: Settings) -> Routing:
    """Return how networks of containers are advertised."""
    return Routing(
        networks=frozenset(settings.route_networks),
        gateway4=IPv4Address(settings.route_gateway4) if settings.route_gateway4 else None,
        gateway6=IPv6Address(settings.route_gateway6) if settings.route_gateway6 else None,
        method=settings.route_ipvs_method,
    )


def _rules(settings: Settings) -> LabelRules:
    """Return what labels may ask for."""
    return LabelRules(
        services=settings.docker_services or ("*",),
        max_weight=settings.docker_max_weight,
        full_checks=settings.docker_label_checks == "full",
    )
