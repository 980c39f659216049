"""Sync daemons in the kernel, and directors that share their connections with them."""

import contextlib
import logging
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from clusterf.host.capabilities import CAP_NET_ADMIN
from clusterf.ipvs.sync import parse_sync
from clusterf.lib.store import Store
from clusterf.reconcile.sync_daemons import sync_keepers
from tests.system.support.dataplane import ECHO, Client, Director, Echo, Server, inside, ip, namespace, set_switches
from tests.system.support.node import PATIENCE, Tree, ipvsadm, table
from tests.waiting import wait_until

pytestmark = pytest.mark.ipvs

Running = set[tuple[str, str, int]]
Keep = Callable[..., list[str]]


def running() -> Running:
    """Return role, interface and syncid of each daemon that runs in this network namespace."""
    found = re.findall(r"^(\w+) sync daemon \(mcast=(\S+), syncid=(\d+)", ipvsadm("-Ln", "--daemon"), re.MULTILINE)
    return {(role, interface, int(syncid)) for role, interface, syncid in found}


def start_by_hand(role: str, interface: str, syncid: int) -> None:
    ipvsadm("--start-daemon", role, "--mcast-interface", interface, "--syncid", str(syncid))


def both(interface: str, syncid: int) -> Running:
    return {("master", interface, syncid), ("backup", interface, syncid)}


def add_interface(name: str, *commands: str) -> None:
    """Make an interface and do more to it."""
    lines = [f"link add {name} type dummy", *(f"{command} dev {name}" for command in commands)]
    subprocess.run(["ip", "-batch", "-"], input="\n".join(lines), text=True, check=True)


WELL = ("addr add 10.8.0.1/24", "link set up")


@pytest.fixture
def keep(namespace: None, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Keep:
    """Do what a node with such flags does about the daemons, and return what it logs; a second time it is silent."""
    caplog.set_level(logging.INFO)

    def keep(*flags: str, noop: bool = False) -> list[str]:
        store = Store(tmp_path / "ipvs.db", read_only=noop)
        with contextlib.closing(store):
            keepers = sync_keepers(parse_sync(flags), store, noop=noop)
            caplog.clear()
            for keeper in keepers:
                keeper.keep()
            said = list(caplog.messages)
            for keeper in keepers:
                keeper.keep()
            assert caplog.messages == said
            return said

    return keep


def test_daemons_are_started_changed_one_by_one_and_stopped(keep: Keep) -> None:
    add_interface("eth1", *WELL)
    assert keep("both:eth1:7") == [
        "ipvs: ipvsadm --start-daemon master --mcast-interface eth1 --syncid 7",
        "ipvs: ipvsadm --start-daemon backup --mcast-interface eth1 --syncid 7",
    ]
    assert running() == both("eth1", 7)

    assert keep("backup:eth1:7", "master:eth1:255") == [
        "ipvs: ipvsadm --stop-daemon master",
        "ipvs: ipvsadm --start-daemon master --mcast-interface eth1 --syncid 255",
    ]
    assert running() == {("master", "eth1", 255), ("backup", "eth1", 7)}

    assert keep("master:eth1:255") == ["ipvs: ipvsadm --stop-daemon backup"]
    assert keep(noop=True) == ["ipvs noop: ipvsadm --stop-daemon master"]
    assert running() == {("master", "eth1", 255)}
    assert keep() == ["ipvs: ipvsadm --stop-daemon master"]
    assert running() == set()


def test_foreign_daemons_are_left_alone_unless_one_of_their_role_is_wanted(keep: Keep) -> None:
    start_by_hand("master", "lo", 9)
    start_by_hand("backup", "lo", 9)
    assert keep() == []
    assert running() == both("lo", 9)

    report, *commands = keep("master:lo:7")
    assert "started outside clusterf on lo (syncid 9, group 224.0.0.81, port 8848), replacing it" in report
    assert commands == [
        "ipvs: ipvsadm --stop-daemon master",
        "ipvs: ipvsadm --start-daemon master --mcast-interface lo --syncid 7",
    ]
    assert running() == {("master", "lo", 7), ("backup", "lo", 9)}


def test_error_names_what_keeps_a_daemon_from_starting(keep: Keep) -> None:
    def refused(role: str = "master") -> str:
        with pytest.raises(OSError, match="failed: ipvsadm --start-daemon") as caught:
            keep(f"{role}:eth1:7")
        return str(caught.value).rpartition(": ")[2]

    assert refused() == "there is no such interface"
    assert refused("backup") == "there is no such interface"
    add_interface("eth1")
    assert refused() == "the interface has no IPv4 address"
    subprocess.run(["ip", "addr", "add", "10.8.0.1/24", "dev", "eth1"], check=True)
    assert refused() == "the interface is down"
    subprocess.run(["ip", "link", "set", "eth1", "up"], check=True)
    ipvsadm("-R", stdin="-A -t 10.1.0.1:80\n-a -t 10.1.0.1:80 -r [fd00::1]:80 -i\n")
    assert "of another family" in refused()
    ipvsadm("-C")
    assert running() == set()
    assert keep("master:eth1:7") == ["ipvs: ipvsadm --start-daemon master --mcast-interface eth1 --syncid 7"]


# Directors on one network with a client and two backends.
#
#     client ─┬─ a, b, c: the directors, of which one has the VIP
#             └─ b1, b2: have the VIP on lo, and answer the client themselves
#
# There are nodes on a and b, whose daemons belong together. Without one, c has
# the same table, and its daemon another syncid. The test of connections comes
# after those of the daemons of a: what they do there must have done no harm.

VIP = "10.9.0.100"
SYNCID, OTHER = 7, 8
BACKENDS = ("b1", "b2")
ADDRESSES = {host: f"10.9.0.{number}" for number, host in enumerate(["client", "a", "b", "c", *BACKENDS], start=1)}
TABLE = table(
    f"-A -t {VIP}:{ECHO} -s rr\n" + "".join(f"-a -t {VIP}:{ECHO} -r {ADDRESSES[b]}:{ECHO} -g -w 10\n" for b in BACKENDS)
)


@dataclass(frozen=True)
class Network:
    """The hosts, each in a namespace, and a bridge between them in one more."""

    names: dict[str, str]
    directors: dict[str, Director]
    client: Client

    def plug(self, host: str) -> None:
        """Give a host an interface on the network."""
        ip(f"link add to-{host} type veth peer name eth0 netns {self.names[host]}\n", self.names["lan"])
        ip(f"link set to-{host} up master bridge\n", self.names["lan"])
        ip(f"addr add {ADDRESSES[host]}/24 dev eth0\nlink set eth0 up\n", self.names[host])

    def unplug(self, host: str) -> None:
        """Take the interface away."""
        ip(f"link del to-{host}\n", self.names["lan"])

    def give_vip(self, host: str) -> None:
        """Let a director have the VIP, and the client look anew for who has it."""
        ip(f"addr add {VIP}/32 dev eth0\n", self.names[host])
        ip("neigh flush dev eth0\n", self.names["client"])

    def move_vip(self, before: str, after: str) -> None:
        """Take the VIP from a director, and give it to another."""
        ip(f"addr del {VIP}/32 dev eth0\n", self.names[before])
        self.give_vip(after)

    def running(self, director: str) -> Running:
        """Return the daemons of a director."""
        with inside(self.names[director]):
            return running()

    def connected(self, director: str) -> set[str]:
        """Return the backends to which connections are established in a director's table."""
        with inside(self.names[director]):
            listed = ipvsadm("-Lcn")
        return {backend for backend in BACKENDS if re.search(rf" ESTABLISHED .* {ADDRESSES[backend]}:", listed)}


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    tree = Tree(tmp_path_factory.mktemp("configuration") / "tree")
    backends = {backend: {"ipv4": ADDRESSES[backend], "tcp": ECHO} for backend in BACKENDS}
    tree.service("echo", {"ipv4": VIP, "tcp": ECHO, "scheduler": "rr"}, **backends)
    with contextlib.ExitStack() as stack:
        names = {role: stack.enter_context(namespace(role)) for role in ("lan", *ADDRESSES)}
        ip("link add bridge type bridge\nlink set bridge up\n", names["lan"])
        flags = ("--ipvs-forward-method", "droute")
        directors = {name: Director(names[name], tree, tmp_path_factory.mktemp(name), flags) for name in "ab"}
        network = Network(names, directors, Client(names["client"]))
        for host in ADDRESSES:
            network.plug(host)
        for backend in BACKENDS:
            set_switches(names[backend], {"ipv4/conf/all/arp_ignore": 1, "ipv4/conf/all/arp_announce": 2})
            ip(f"addr add {VIP}/32 dev lo\n", names[backend])
            with inside(names[backend]):
                stack.enter_context(Server(backend, ECHO, Echo))
        with inside(names["c"]):
            ipvsadm("-R", stdin="\n".join(TABLE))
            start_by_hand("backup", "eth0", OTHER)
        for director in directors.values():
            director.start("--ipvs-sync", f"both:eth0:{SYNCID}")
            stack.callback(director.stop)
        for director in directors.values():
            director.wait_for(lambda director=director: director.table() == TABLE)
        yield network


def test_director_runs_its_daemons_with_one_capability(network: Network) -> None:
    director = network.directors["a"]
    assert network.running("a") == both("eth0", SYNCID)
    assert director.operations[0] == "ipvsadm --start-daemon master --mcast-interface eth0 --syncid 7"
    status = Path(f"/proc/{director.children()['director']}/status").read_text()
    assert f"CapEff:\t{1 << CAP_NET_ADMIN:016x}" in status


def test_stopped_daemon_is_restarted_and_the_other_one_is_not(network: Network) -> None:
    director = network.directors["a"]
    director.forget()
    with inside(network.names["a"]):
        ipvsadm("--stop-daemon", "backup")
    director.send(signal.SIGHUP)
    director.wait_for(lambda: network.running("a") == both("eth0", SYNCID))
    director.wait_for(lambda: director.operations)
    assert director.operations == ["ipvsadm --start-daemon backup --mcast-interface eth0 --syncid 7"]


def test_daemons_are_restarted_when_their_interface_was_replaced(network: Network) -> None:
    director = network.directors["a"]
    director.forget()
    network.unplug("a")
    director.send(signal.SIGHUP)
    director.wait_for_log("^error: ipvs: failed: ipvsadm --start-daemon .*: there is no such interface$", 2)

    director.forget()
    network.plug("a")
    director.send(signal.SIGHUP)
    director.wait_for_log("^ipvs: ipvsadm --start-daemon", 2)
    assert [command.split()[1:3] for command in director.operations] == [
        [verb, role] for role in ("master", "backup") for verb in ("--stop-daemon", "--start-daemon")
    ]
    assert network.running("a") == both("eth0", SYNCID)


def test_connections_continue_only_through_a_synchronised_director(
    network: Network,
) -> None:
    network.give_vip("a")
    with network.client.talk(VIP) as one, network.client.talk(VIP) as another:
        # a connection is shared after some packets (sync_threshold)
        backends = {talk: {talk.say("before") for _ in range(4)}.pop() for talk in (one, another)}
        assert set(backends.values()) == set(BACKENDS) == network.connected("a")
        wait_until(lambda: network.connected("b") == set(BACKENDS), PATIENCE)
        assert network.connected("c") == set()

        network.move_vip("a", "c")
        with pytest.raises(ConnectionResetError):
            another.say("lost")
        network.move_vip("c", "b")
        assert one.say("after") == backends[one]
        assert network.connected("b") >= {backends[one]}


def test_node_without_the_flag_stops_the_daemons_of_the_node_before_it(network: Network) -> None:
    director = network.directors["b"]
    assert director.stop() == 0
    assert network.running("b") == both("eth0", SYNCID)
    with inside(network.names["b"]):
        ipvsadm("--stop-daemon", "backup")
        start_by_hand("backup", "eth0", OTHER)
    assert director.once() == 0
    assert director.operations == ["ipvsadm --stop-daemon master"]
    assert network.running("b") == {("backup", "eth0", OTHER)}
