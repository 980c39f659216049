"""The containers of a simulated engine: what they are, how it describes them, and what is to be published of them.

The last is the model's own knowledge, by rules as simple as possible.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple

__all__ = ["Container", "Ideal", "Kind"]

PREFIX = "net.qmsk.clusterf."
PORT = 8080


class Kind(NamedTuple):
    """What a container's networks are, the first being the one to publish; and what its labels say besides."""

    networks: tuple[str, ...]
    labels: tuple[tuple[str, str], ...] = ()
    has_health: bool = False


KINDS = (
    Kind(("bridge",)),
    Kind(("front",)),
    Kind(("front", "back"), (("network", "front"),)),
    Kind(("bridge",), (("health", "tcp"),)),
    Kind(("bridge",), has_health=True),
    Kind(("front",), (("health", "http:/"),)),
)


class Ideal(NamedTuple):
    """What a container's backend is to be: its address and its weight; None: either that of its label, or 0."""

    address: str
    weight: int | None


@dataclass
class Container:
    """A container on a host. `signalled` tells how: "no", "seen" by its node, or "unclear" whether its node knows."""

    id: str
    number: int
    services: tuple[str, ...]
    kind: Kind
    weight: int
    host: str
    subnets: dict[str, str]
    networks: list[str] = field(default_factory=list)
    running: bool = False
    paused: bool = False
    started_at: int = 0
    health: str = "none"
    signalled: str = "no"
    signalled_at: float = 0.0
    # it has several networks, and its node may have forgotten which one it was published on
    unclear: bool = False
    run: int = 0

    def address(self, network: str) -> str:
        """Return its address on a network."""
        return f"{self.subnets[network]}.{self.number + 2}"

    @property
    def is_ambiguous(self) -> bool:
        """Whether nothing but its node's record tells which of its networks is to be published."""
        return len(self.networks) > 1 and "bridge" not in self.networks and not dict(self.kind.labels).get("network")

    @property
    def published(self) -> str:
        """The address to be published."""
        return self.address(self.kind.networks[0])

    def ideal(self) -> Ideal | None:
        """Return what its backends are to be; None: there is to be none."""
        if not self.run:
            return None
        if not self.running or self.paused or self.health == "unhealthy" or self.signalled == "seen":
            return Ideal(self.published, 0)
        if self.signalled == "unclear" or self.unclear or self.health == "starting":
            return Ideal(self.published, None)
        return Ideal(self.published, self.weight)

    def labels(self) -> dict[str, str]:
        """Return its labels, as an engine has them."""
        texts = {"service": " ".join(self.services), "backend.tcp": str(PORT), "backend.weight": str(self.weight)}
        return {f"{PREFIX}{name}": text for name, text in (texts | dict(self.kind.labels)).items()}

    def summary(self) -> dict[str, Any]:
        """Return it as a list has it."""
        return {"Id": self.id, "Labels": self.labels()}

    def inspection(self) -> dict[str, Any]:
        """Return it as an inspection has it."""
        state: dict[str, Any] = {
            "Running": self.running,
            "Paused": self.paused,
            "Restarting": False,
            "Dead": False,
            "StartedAt": _time(self.started_at) if self.run else "0001-01-01T00:00:00Z",
        }
        if self.health != "none":
            state["Health"] = {"Status": self.health}
        addresses = {name: self.address(name) if self.running else "" for name in self.networks}
        return {
            "Id": self.id,
            "Name": f"/{self.id}",
            "State": state,
            "Config": {"Labels": self.labels(), "ExposedPorts": {f"{PORT}/tcp": {}}, "StopSignal": "SIGTERM"},
            "HostConfig": {"PortBindings": {}},
            "NetworkSettings": {
                "Networks": {
                    name: {"NetworkID": f"{self.host}-{name}", "IPAddress": address, "GlobalIPv6Address": ""}
                    for name, address in addresses.items()
                },
                "Ports": {},
            },
        }


def _time(nanoseconds: int) -> str:
    whole = datetime.fromtimestamp(nanoseconds // 10**9, UTC)
    return f"{whole:%Y-%m-%dT%H:%M:%S}.{nanoseconds % 10**9:09d}Z"
