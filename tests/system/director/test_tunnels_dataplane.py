"""Real servers that are reached directly or through tunnels answer real clients.

    client ── director
       └─ backend ─┘

Each is a network namespace. The backend has the VIPs too, and answers clients
without the director, as these methods need it. Each way to the backend has a
VIP of its own, and an address of the backend (or a gateway) with a route to it;
which of the backend's devices unwraps the packets shows which way they came.
"""

import contextlib
import subprocess
from collections.abc import Iterator, Mapping
from itertools import count, product
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.system.support.dataplane import (
    ECHO,
    Client,
    Director,
    Echo,
    Server,
    inside,
    ip,
    make_router,
    namespace,
    set_switches,
)
from tests.system.support.node import Tree

pytestmark = pytest.mark.ipvs

GUE, GRE = {"type": "gue", "port": 6080}, {"type": "gre"}


class Way(NamedTuple):
    """A way to the backend: its number, the families of the VIP and of the real server, a tunnel, what unwraps it."""

    number: int
    vip_family: int
    real_family: int
    tunnel: Mapping[str, Any] | None
    device: str

    def __str__(self) -> str:
        words = ["droute"] if self.tunnel is None else map(str, self.tunnel.values())
        return "-".join([f"ipv{self.vip_family}-by-ipv{self.real_family}", *words])

    @property
    def vip(self) -> str:
        return f"10.107.0.{self.number}" if self.vip_family == 4 else f"fd00:107::{self.number}"

    @property
    def real(self) -> str:
        """The address at which the director reaches the backend."""
        return _backend(self.real_family, self.number)

    @property
    def backend(self) -> str:
        """The address that the configuration knows the backend by."""
        return _backend(self.vip_family, self.number)

    @property
    def route(self) -> Mapping[str, Any]:
        how = {"IPVSMethod": "droute"} if self.tunnel is None else {"IPVSMethod": "tunnel", "tunnel": self.tunnel}
        return {"Prefix": self.backend, "Gateway": self.real, **how}

    @property
    def unwrapping(self) -> str:
        """Commands for the backend: GRE with a checksum is taken only by a device that is made so."""
        if not self.device.startswith("icsum"):
            return ""
        kind, director = ("gre", "10.3.0.1") if self.real_family == 4 else ("ip6gre", "fd00:3::1")
        made = f"link add {self.device} type {kind} local {self.real} remote {director} icsum"
        return f"{made}\nlink set {self.device} up\n"


def _backend(family: int, number: int) -> str:
    return f"10.3.0.{number}" if family == 4 else f"fd00:3::{number}"


def ways() -> Iterator[Way]:
    """Yield all ways, numbered from 10 on."""
    numbers = count(10)
    for family in (4, 6):
        yield Way(next(numbers), family, family, None, "up0")
    for vip, real in product((4, 6), repeat=2):
        ip_in_ip = "ip6tnl0" if real == 6 else "tunl0" if vip == 4 else "sit0"
        yield Way(next(numbers), vip, real, {}, ip_in_ip)
        yield Way(next(numbers), vip, real, GRE, "gre0" if real == 4 else "ip6gre0")
        number = next(numbers)
        yield Way(number, vip, real, GRE | {"checksum": "csum"}, f"icsum{number}")
        for checksum in ("none", "csum", "remcsum"):
            yield Way(next(numbers), vip, real, GUE | {"checksum": checksum}, ip_in_ip)


WAYS = list(ways())

# the director is 1, and up0 the way to it; the client is 2, and up1 the way to it
NETWORK = """\
link add client netns {director} type veth peer name up0 netns {client}
link add backend netns {director} type veth peer name up0 netns {backend}
link add backend netns {client} type veth peer name up1 netns {backend}
"""
LINKS = {
    "director": "client 10.9.0.1/24 fd00:9::1/64\nbackend 10.3.0.1/24 fd00:3::1/64",
    "client": "up0 10.9.0.2/24 fd00:9::2/64\nbackend 10.4.0.2/24 fd00:4::2/64",
    "backend": "up0 10.3.0.2/24 fd00:3::2/64\nup1 10.4.0.3/24 fd00:4::3/64",
}
ROUTES = {
    "client": "route add 10.107.0.0/24 via 10.9.0.1\nroute add fd00:107::/64 via fd00:9::1\n",
    "backend": "route add 10.9.0.0/24 via 10.4.0.2\nroute add fd00:9::/64 via fd00:4::2\n",
}
MODULES = "ipip", "ip_gre", "sit", "ip6_tunnel", "ip6_gre", "fou", "fou6"
UNWRAPPING = """\
link set tunl0 up
link set gre0 up
link set sit0 up
link set ip6tnl0 type ip6tnl mode any
link set ip6tnl0 up
link set ip6gre0 up
fou add port 6080 gue
"""


def connect(names: Mapping[str, str]) -> None:
    """Make the network of the three, each with its addresses and routes."""
    ip(NETWORK.format(**names))
    for role, name in names.items():
        set_switches(name, {"ipv4/conf/all/rp_filter": 0, "ipv4/conf/default/rp_filter": 0})
        for interface, *addresses in map(str.split, LINKS[role].splitlines()):
            added = "".join(f"addr add {address} dev {interface}\n" for address in addresses)
            ip(f"link set {interface} up\n{added}", name)
        ip(ROUTES.get(role, ""), name)


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Client, str]]:
    """A client of a director with all of these ways, and the namespace of the backend."""
    folder = tmp_path_factory.mktemp("tunnels")
    tree = Tree(folder / "tree")
    with contextlib.ExitStack() as stack:
        names = {role: stack.enter_context(namespace(role)) for role in LINKS}
        connect(names)
        make_router(names["director"])
        subprocess.run(["modprobe", "-a", *MODULES], check=True)  # with which come tunl0 and the like
        subprocess.run(["ip", "-6", "-netns", names["backend"], "fou", "add", "port", "6080", "gue"], check=True)
        vips = "".join(f"addr add {way.vip} dev lo\n" for way in WAYS)
        ip(vips, names["director"])
        reals = "".join(f"addr add {way.real} dev up0\n{way.unwrapping}" for way in WAYS)
        ip(f"{UNWRAPPING}{vips}{reals}", names["backend"])
        for way in WAYS:
            family = f"ipv{way.vip_family}"
            tree.put(f"routes/{way}", way.route)
            tree.service(str(way), {family: way.vip, "tcp": ECHO}, b={family: way.backend, "tcp": ECHO})
        with inside(names["backend"]):
            stack.enter_context(Server("backend", ECHO, Echo))
        director = stack.enter_context(Director(names["director"], tree, folder))
        director.wait_for_log("^ipvs: ipvsadm -a ", len(WAYS))
        yield Client(names["client"]), names["backend"]


def received(backend: str, device: str) -> int:
    """Return how many packets have come by a device."""
    with inside(backend):
        lines = Path("/proc/thread-self/net/dev").read_text().splitlines()
    counters = {name.strip(): values.split() for name, _, values in (line.partition(":") for line in lines)}
    return int(counters[device][1])


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_client_is_answered_through_each_tunnel(network: tuple[Client, str], way: Way) -> None:
    client, backend = network
    before = received(backend, way.device)

    with client.talk(way.vip) as conversation:
        assert conversation.say("hello") == "backend"

    assert received(backend, way.device) >= before + 3  # SYN, ACK, and what was said
