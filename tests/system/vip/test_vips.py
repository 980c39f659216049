"""VIPs on the director: kept on an interface, announced on it, and reached by a client there.

    client ── director ── b1

The client is in the network of the VIPs, which only the node sets up.
"""

import contextlib
import re
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from ipaddress import ip_address

import pytest

from clusterf.host.capabilities import CAP_NET_ADMIN, CAP_NET_RAW
from clusterf.vip.announce import advertisement, gratuitous_arp
from tests.system.node.test_privileges import capabilities
from tests.system.support.dataplane import (
    BACKENDS,
    Client,
    Director,
    WebServer,
    cable,
    inside,
    ip,
    namespace,
    set_switches,
)
from tests.system.support.node import Node, Tree
from tests.waiting import wait_until

pytestmark = pytest.mark.ipvs

VIPS = {"ipv4": "10.9.0.107", "ipv6": "fd00:9::107"}
THEIRS = "10.9.0.108"  # a VIP that was on the director before the node
INTERFACE = "client"  # the director's, to the client
FLAG = ("--vip-interface", INTERFACE)
BACKEND = {**BACKENDS["b1"], "tcp": 8080}


@dataclass(frozen=True)
class Network:
    """The namespaces, and the node in one of them."""

    client: Client
    director: Director
    tree: Tree

    def addresses(self, interface: str = INTERFACE) -> set[str]:
        """Return the whole addresses on an interface of the director."""
        with inside(self.director.namespace):
            return whole_addresses(interface)

    def hardware(self) -> str:
        shown = run("ip", "-netns", self.director.namespace, "link", "show", "dev", INTERFACE)
        return shown.partition("link/ether ")[2].split()[0]

    def neighbours(self) -> dict[str, str]:
        """Return the Ethernet address by which the client knows each address."""
        listed = run("ip", "-netns", self.client.namespace, "neighbour", "show", "dev", "up0")
        return dict(re.findall(r"^(\S+) lladdr (\S+)", listed, re.MULTILINE))


def run(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def whole_addresses(interface: str) -> set[str]:
    return set(re.findall(r"inet6? (\S+)/(?:32|128) ", run("ip", "address", "show", "dev", interface)))


def changes(node: Node) -> list[str]:
    """Return the commands in the log that change addresses or virtual servers, in order."""
    lines = re.findall(r"^ipvs(?: noop)?: (.*)$", node.log, re.MULTILINE)
    return [line for line in lines if line.startswith(("ip address ", "ipvsadm -A", "ipvsadm -D"))]


@pytest.fixture(scope="module")
def running_network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    folder = tmp_path_factory.mktemp("vips")
    with contextlib.ExitStack() as stack:
        client, director, end = (stack.enter_context(namespace(role)) for role in ("client", "director", "b1"))
        cable(director, client, INTERFACE, 0)
        cable(director, end, "b1", 1)
        forwarding = {"ipv4/ip_forward": 1, "ipv6/conf/all/forwarding": 1}
        set_switches(director, {**forwarding, f"ipv6/conf/{INTERFACE}/accept_dad": 1})
        ip(f"address add {THEIRS}/32 dev lo", director)
        web = WebServer("b1", end)
        web.start()
        stack.callback(web.stop)
        tree = Tree(folder / "tree")
        tree.clear()
        node = Director(director, tree, folder, ["--removal-hold", "0", *FLAG])
        stack.enter_context(node)
        node.wait_for(lambda: node.tables)
        yield Network(Client(client), node, tree)


@pytest.fixture
def network(running_network: Network) -> Network:
    """The network without any service."""
    running_network.tree.clear()
    with running_network.director.explained():
        wait_until(lambda: not running_network.director.table() and not running_network.addresses())
    running_network.director.forget()
    return running_network


def test_client_that_cached_another_director_is_served_at_once(network: Network) -> None:
    for vip in VIPS.values():
        ip(f"neighbour replace {vip} lladdr 02:00:00:00:00:99 dev up0 nud reachable", network.client.namespace)
    with inside(network.client.namespace), frames("up0") as heard:
        network.tree.service("web", {**VIPS, "tcp": 80}, b=BACKEND)
        network.director.wait_for(lambda: network.director.operations)
        network.director.wait_for(lambda: set(network.neighbours().values()) == {network.hardware()})
        packets = heard()

    assert network.addresses() == set(VIPS.values())
    for vip in VIPS.values():
        assert network.client.get(vip) == "b1"
    hardware = bytes.fromhex(network.hardware().replace(":", ""))
    arp = b"\x08\x06" + gratuitous_arp(hardware, ip_address(VIPS["ipv4"]))
    assert packets.count(b"\xff" * 6 + hardware + arp) == 1
    # all but the checksum, which the client's kernel verifies
    sent = advertisement(hardware, ip_address(VIPS["ipv6"]), router=True)[4:]
    assert sum(packet.startswith(b"\x33\x33\0\0\0\1" + hardware) and packet.endswith(sent) for packet in packets) == 1


@contextlib.contextmanager
def frames(interface: str) -> Iterator[Callable[[], list[bytes]]]:
    """Catch what comes in on an interface; what is yielded returns all so far."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)) as channel:
        channel.bind((interface, 0))
        channel.setblocking(False)

        def heard() -> list[bytes]:
            found = []
            with contextlib.suppress(BlockingIOError):
                while True:
                    found.append(channel.recv(65535))
            return found

        yield heard


def test_address_is_added_before_its_first_virtual_server_and_removed_after_its_last(network: Network) -> None:
    network.tree.service("web", {"ipv4": VIPS["ipv4"], "tcp": 80, "udp": 53}, b=BACKEND)
    network.director.wait_for(lambda: len(changes(network.director)) == 3)
    network.tree.put("services/web/frontend", {"ipv4": VIPS["ipv4"], "udp": 53})
    network.director.wait_for(lambda: len(changes(network.director)) == 4)
    network.tree.remove("services/web")
    network.director.wait_for(lambda: len(changes(network.director)) == 6)

    found = changes(network.director)
    assert found[0] == f"ip address add {VIPS['ipv4']}/32 dev {INTERFACE}"
    assert [line.split()[1] for line in found[1:5]] == ["-A", "-A", "-D", "-D"]
    assert found[5] == f"ip address del {VIPS['ipv4']}/32 dev {INTERFACE}"
    assert network.addresses() == set()


def test_ipv6_address_is_usable_at_once_and_deprecated(network: Network) -> None:
    network.tree.service("web", {"ipv6": VIPS["ipv6"], "tcp": 80}, b=BACKEND)
    network.director.wait_for(network.addresses)

    listed = run("ip", "-netns", network.director.namespace, "-6", "address", "show", "dev", INTERFACE)
    assert re.search(rf"{VIPS['ipv6']}/128 scope global nodad deprecated ?$", listed, re.MULTILINE)


def test_address_of_others_stays_and_removed_address_is_restored(network: Network) -> None:
    removed = "10.9.0.109"
    network.tree.service("theirs", {"ipv4": THEIRS, "tcp": 80})
    network.tree.service("ours", {"ipv4": removed, "tcp": 80})
    network.director.wait_for(lambda: len(network.director.table()) == 2)
    assert network.addresses() == {removed}

    ip(f"address del {removed}/32 dev {INTERFACE}", network.director.namespace)
    network.director.send(signal.SIGHUP)
    network.director.wait_for_log(f"addresses removed from {INTERFACE} outside clusterf, repairing: {removed}")
    network.director.wait_for(lambda: network.addresses() == {removed})

    network.tree.clear()
    network.director.wait_for(lambda: not network.director.table() and not network.addresses())
    assert THEIRS in network.addresses("lo")


def test_restart_changes_no_address(network: Network) -> None:
    network.tree.service("web", {**VIPS, "tcp": 80}, b=BACKEND)
    network.director.wait_for(lambda: len(network.director.table()) == 4)
    assert network.director.stop() == 0
    assert network.addresses() == set(VIPS.values())

    network.director.start()
    network.director.wait_for(lambda: network.director.tables)
    assert changes(network.director) == []
    assert network.addresses() == set(VIPS.values())
    found = capabilities(network.director.children()["director"])
    assert found["CapEff"] == found["CapBnd"] == 1 << CAP_NET_ADMIN | 1 << CAP_NET_RAW


def test_other_interface_moves_the_addresses_and_none_removes_them(node: Node, tree: Tree) -> None:
    ip("link add vips0 type dummy\nlink set vips0 up\naddress add 10.9.0.1/24 dev vips0\n")
    tree.service("web", {**VIPS, "tcp": 80})

    assert node.once("--vip-interface", "vips0") == 0
    assert whole_addresses("vips0") == set(VIPS.values())

    assert node.once("--vip-interface", "lo") == 0
    added = {"ip address add 10.9.0.107/32 dev lo", "ip address add fd00:9::107/128 dev lo nodad preferred_lft 0"}
    assert set(changes(node)[:2]) == added
    assert [line.split()[2] for line in changes(node)[2:]] == ["del", "del"]
    assert whole_addresses("lo") >= set(VIPS.values())
    assert whole_addresses("vips0") == set()

    assert node.once() == 0
    assert whole_addresses("lo").isdisjoint(VIPS.values())
    assert "10.9.0.1/24" in run("ip", "address", "show", "dev", "vips0")
