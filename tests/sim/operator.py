"""The operator: what the configuration is to be, and the ways in which it is changed.

It holds the configuration as objects. A change edits these, renders all to keys and values, and
puts the difference to the source: at once, additions first, or one by one.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

__all__ = ["Configuration", "render"]

METHODS = ("masq", "droute", "tunnel")
CHECKS: tuple[dict[str, Any] | None, ...] = (
    None,
    {"interval": 2, "timeout": 1, "fall": 2},
    {"port": 8081},
    {"initial": "up"},
    {"type": "http", "fall": 2, "rise": 1},
    {"panic_threshold": 40},
    {"on_down": "remove"},
    {"type": "none"},
    {"port": 9999},
)
OWN_CHECKS: tuple[dict[str, Any] | None, ...] = (
    None,
    {"interval": 2, "timeout": 1, "fall": 2, "from": "label"},
    {"type": "http", "fall": 2, "rise": 1},
    {"port": 8081, "from": "label"},
    {"type": "none", "from": "label"},
    {"initial": "up", "panic_threshold": 90, "on_down": "remove"},
)
RULES = (("*",), ("???{slot}",), ("web{slot}", "api{slot}"), ("[!w]*",), ())
SERVICE_NAMES = ("web", "api", "zoo")


@dataclass(frozen=True)
class Backend:
    """A backend: the number of its machine, in which pool of machines, and by which name."""

    machine: int
    pool: int = 0
    name: int = 0
    weight: int = 10
    own_check: int = 0


@dataclass(frozen=True)
class Service:
    """A service by its slot: which of its names and addresses it has, and its backends."""

    slot: int
    name: int = 0
    vip: int = 0
    backends: tuple[Backend, ...] = ()
    check: int = 0
    drain: int = 30


@dataclass
class Configuration:
    """What is to be configured."""

    services: dict[int, Service] = field(default_factory=dict)
    # how the machines of each pool are reached: 0: directly; else through a gateway, or by another method
    routes: dict[int, int] = field(default_factory=dict)
    # who may claim addresses of a service's slot: by the number of the address, one of RULES
    vips: dict[tuple[int, int], int] = field(default_factory=dict)
    default_check: int = 1

    def edit(self, slot: int, **changes: Any) -> None:
        """Change fields of a service, if it exists."""
        if slot in self.services:
            self.services[slot] = replace(self.services[slot], **changes)

    def edit_backends(self, slot: int, change: Callable[[Backend], Backend | None]) -> None:
        """Change each backend of a service, or with None delete it."""
        if slot in self.services:
            changed = map(change, self.services[slot].backends)
            self.edit(slot, backends=tuple(backend for backend in changed if backend is not None))


def render(configuration: Configuration) -> dict[bytes, bytes]:
    """Return the keys and values of a configuration."""
    keys: dict[str, Any] = {"health": CHECKS[configuration.default_check]}
    for service in configuration.services.values():
        root = f"services/{SERVICE_NAMES[service.name % 3]}{service.slot}"
        vip = f"198.51.{100 + service.vip % 3}.{service.slot + 1}"
        keys[f"{root}/frontend"] = {"ipv4": vip, "tcp": 80, "drain_timeout": service.drain}
        keys[f"{root}/health"] = CHECKS[service.check % len(CHECKS)]
        for backend in service.backends:
            address = f"10.{service.slot}.{backend.pool % 4}.{backend.machine + 1}"
            own = OWN_CHECKS[backend.own_check % len(OWN_CHECKS)]
            keys[f"{root}/backends/{'abc'[backend.name % 3]}{backend.pool % 4}-{backend.machine}"] = {
                "ipv4": address,
                "tcp": 8080,
                "weight": backend.weight,
            } | ({"health": own} if own is not None else {})
    for slot, way in configuration.routes.items():
        route = {"Prefix": f"10.{slot}.0.0/16", "IPVSMethod": METHODS[way % 3]}
        if way >= 3:
            route["Gateway"] = f"192.0.2.{way}"
        keys[f"routes/r{slot}"] = route if way else None
    for (slot, vip), way in configuration.vips.items():
        patterns = [pattern.format(slot=slot) for pattern in RULES[way]]
        keys[f"vips/{vip}-{slot}"] = {"prefix": f"198.51.{100 + vip}.{slot + 1}", "services": patterns}
    if configuration.vips:
        keys["vips/all"] = {"prefix": "198.51.0.0/16", "services": ["*"]}
    return {path.encode(): json.dumps(value).encode() for path, value in keys.items() if value is not None}
