"""The configuration that a soak works on: services on fixed VIPs, and the table that follows from their objects.

Service N starts at 10.107.0.N:80 with backends out of 10.3.N.0/24. Whatever edits
make of that, each VIP belongs to a service, but for moments that are meant.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from clusterf.config.decode import decode
from clusterf.config.keys import parse_key
from clusterf.director.build import build
from clusterf.ipvs.table import Table
from clusterf.resolve.virtual_servers import Defaults
from tests.soak.history import Configuration, Real, Virtual

__all__ = [
    "ALL",
    "BACKENDS",
    "CHECK",
    "FIRST",
    "GATEWAYS",
    "PORTS",
    "PUBLISHED",
    "SERVICES",
    "Objects",
    "Service",
    "address",
    "backend",
    "configuration",
    "everything",
    "in_tree",
    "published",
    "services",
    "table",
    "vip",
    "virtual",
]

Objects = dict[str, dict[str, Any]]

SERVICES = range(1, 13)
PUBLISHED = 13  # the service whose backends a publisher has on a lease
IN_TREE = 14  # the service that is in files
ALL = (*SERVICES, PUBLISHED, IN_TREE)
BACKENDS = range(1, 9)  # addresses that a service may have backends at
FIRST = range(1, 4)  # those that it has at the start
PORTS = (8080, 8081)  # each backend has both; checks may go to either
GATEWAYS = ("10.4.0.1", "10.4.0.2")  # where a server of the frontend's port always answers
CHECK = {"type": "http", "interval": 1.5, "fast_interval": 0.3, "timeout": 1.5, "rise": 2, "fall": 2, "jitter": 0.1}


class Service(NamedTuple):
    """A service in a configuration: where it is, and its backends by name."""

    name: str
    vip: str
    backends: dict[str, dict[str, Any]]

    @property
    def pool(self) -> int:
        """The number of the service that its backends' addresses belong to."""
        return next((int(value["ipv4"].split(".")[2]) for value in self.backends.values()), 0)


def vip(number: int) -> str:
    """Return the VIP with a number."""
    return f"10.107.0.{number}"


def virtual(address: str) -> Virtual:
    """Return the virtual server of a VIP."""
    return f"{address}:80/tcp"


def address(service: int, backend: int) -> str:
    """Return the address of a backend."""
    return f"10.3.{service}.{backend}"


def backend(service: int, number: int, weight: int = 10) -> dict[str, Any]:
    """Return the value of a backend."""
    return {"ipv4": address(service, number), "tcp": PORTS[0], "weight": weight}


def everything() -> Objects:
    """Return the configuration at the start."""
    objects: Objects = {"health": dict(CHECK)}
    for number in SERVICES:
        name = f"services/s{number:02}"
        objects[f"{name}/frontend"] = {"ipv4": vip(number), "tcp": 80, "drain_timeout": 3}
        objects |= {f"{name}/backends/b{n}": backend(number, n) for n in FIRST}
    objects[f"services/s{PUBLISHED}/frontend"] = {"ipv4": vip(PUBLISHED), "tcp": 80, "drain_timeout": 3}
    return objects


def published() -> Objects:
    """Return what the publisher adds."""
    return {f"services/s{PUBLISHED}/backends/c{n}": backend(PUBLISHED, n) for n in FIRST}


def in_tree() -> Objects:
    """Return what is in files."""
    name = f"services/t{IN_TREE}"
    frontend = {f"{name}/frontend": {"ipv4": vip(IN_TREE), "tcp": 80, "drain_timeout": 3}}
    return {**frontend, **{f"{name}/backends/b{n}": backend(IN_TREE, n) for n in FIRST}}


def services(objects: Mapping[str, dict[str, Any]]) -> list[Service]:
    """Return the services that have a frontend, by name."""
    found = {}
    for path, value in sorted(objects.items()):
        match path.split("/"):
            case ["services", name, "frontend"]:
                found[name] = Service(name, value["ipv4"], {})
    for path, value in sorted(objects.items()):
        match path.split("/"):
            case ["services", name, "backends", key] if name in found:
                found[name].backends[key] = value
    return list(found.values())


def table(objects: Mapping[str, dict[str, Any]]) -> Table:
    """Return the table when all backends are up."""
    values = {}
    for path, value in objects.items():
        raw = path.encode()
        key = parse_key(raw)
        assert key is not None, path
        decoded = decode("soak", raw, key, msgspec.json.encode(value)).value
        assert decoded is not None, (path, value)
        values[key] = decoded
    found, _ = build(values, Defaults())
    return found


def configuration(objects: Mapping[str, dict[str, Any]], begin: float, end: float, text: str) -> Configuration:
    """Return what is recorded of a configuration that was written between two times."""
    weights: dict[Virtual, dict[Real, int]] = {
        str(virtual): {str(real): settings.weight for real, settings in reals.items()}
        for virtual, reals in table(objects).reals.items()
    }
    return Configuration(begin, end, text, weights, _backends(objects))


def _backends(objects: Mapping[str, dict[str, Any]]) -> dict[Virtual, dict[Real, frozenset[str]]]:
    """Return the addresses of the backends that give real servers weight; of several services the first counts."""
    found: dict[Virtual, dict[Real, frozenset[str]]] = {}
    for service in reversed(services(objects)):
        reals: dict[Real, frozenset[str]] = {}
        for value in service.backends.values():
            real = _real(objects, value)
            counts = frozenset([value["ipv4"]] if value["weight"] else [])
            reals[real] = reals.get(real, frozenset()) | counts
        found[virtual(service.vip)] = reals
    return found


def _real(objects: Mapping[str, dict[str, Any]], value: dict[str, Any]) -> Real:
    """Return the real server of a backend, which a route of its network may send to a gateway."""
    route = objects.get(f"routes/r{value['ipv4'].split('.')[2]}", {})
    return f"{route['Gateway']}:80" if "Gateway" in route else f"{value['ipv4']}:{value['tcp']}"
