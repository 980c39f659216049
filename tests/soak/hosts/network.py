"""A switch that connects Docker hosts, the etcd and the guest with the director, each by its address."""

import contextlib
import os
from collections.abc import Iterator

from tests.lab.docker import Engine
from tests.system.support.dataplane import inside, ip, namespace

__all__ = ["DIRECTOR", "ETCD", "PREFIX", "Switch", "host_address", "subnet"]

PREFIX = "172.30.0"
ETCD = f"{PREFIX}.1"
DIRECTOR = f"{PREFIX}.2"
TAP = "director0"


def host_address(number: int) -> str:
    """Return the address of a host on the switch."""
    return f"{PREFIX}.{10 + number}"


def subnet(number: int) -> str:
    """Return the network of a host's containers."""
    return f"172.30.{10 + number}.0/24"


class Switch:
    """The network namespace `name`, whose bridge has the etcd's address, and the tap device of the guest."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.tap = TAP
        ip(
            "link add switch type bridge\nlink set switch up\n"
            f"addr add {ETCD}/24 dev switch\n"
            f"tuntap add {TAP} mode tap\nlink set {TAP} master switch\nlink set {TAP} up\n",
            name,
        )

    def here(self) -> contextlib.AbstractContextManager[None]:
        """Move this thread, and the processes it starts, to the switch; then back."""
        return inside(self.name)

    def connect(self, engine: Engine, number: int) -> None:
        """Connect the network of an engine, as host of that number."""
        # (the engine's namespace has no name; for the moment it gets one, so that `ip` can move an end there)
        name = f"clusterf-{os.getpid()}-host{number}"
        with engine.network():
            ip(f"netns attach {name} {os.getpid()}")
        try:
            ip(f"link add host{number} netns {self.name} type veth peer name up0 netns {name}")
            ip(f"link set host{number} master switch\nlink set host{number} up\n", self.name)
            ip(f"addr add {host_address(number)}/24 dev up0\nlink set up0 up\n", name)
        finally:
            ip(f"netns del {name}")


@contextlib.contextmanager
def switch() -> Iterator[Switch]:
    """Make a switch, and remove it at the end."""
    with namespace("switch") as name:
        yield Switch(name)
