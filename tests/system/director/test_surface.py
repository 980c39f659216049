"""All that IPVS offers: from configuration to the kernel's table, to what ipvsadm prints of it, and back."""

import subprocess
from collections.abc import Iterator, Mapping
from ipaddress import ip_address
from itertools import permutations
from typing import Any, NamedTuple

import msgspec
import pytest

from clusterf.ipvs.diff import diff
from clusterf.ipvs.netlink.client import NetlinkIpvs, open_kernel
from clusterf.ipvs.table import (
    SCHEDULERS,
    Method,
    Op,
    RealServer,
    RealServerSettings,
    ServiceFlag,
    Step,
    Table,
    Tunnel,
    TunnelChecksum,
    TunnelType,
    VirtualServer,
    VirtualServerSettings,
    table_of,
)
from clusterf.lib.addresses import Family, Protocol
from tests.system.support.netns import network_namespace
from tests.system.support.node import Node, Tree, ipvsadm, saved, table

pytestmark = pytest.mark.ipvs


class Case(NamedTuple):
    """A service, and what `ipvsadm -Sn` prints of it."""

    frontend: Mapping[str, Any]
    printed: str
    backends: Mapping[str, Mapping[str, Any]] = {}


GUE, GRE = {"type": "gue", "port": 6080}, {"type": "gre"}
OWN4, OWN6 = "10.9.0.9", "fd00:9::9"  # the director's own addresses

ROUTES = {
    "droute": {"Prefix": "10.3.1.0/24", "IPVSMethod": "droute"},
    "ipip": {"Prefix": "10.3.2.0/24", "IPVSMethod": "tunnel"},
    "gue": {"Prefix": "10.3.3.0/24", "IPVSMethod": "tunnel", "tunnel": GUE},
    "gue-csum": {"Prefix": "10.3.4.0/24", "IPVSMethod": "tunnel", "tunnel": {**GUE, "checksum": "csum"}},
    "gue-remcsum": {"Prefix": "10.3.5.0/24", "IPVSMethod": "tunnel", "tunnel": {**GUE, "checksum": "remcsum"}},
    "gre": {"Prefix": "10.3.6.0/24", "IPVSMethod": "tunnel", "tunnel": GRE},
    "gre-csum": {"Prefix": "10.3.7.0/24", "IPVSMethod": "tunnel", "tunnel": {**GRE, "checksum": "csum"}},
    "four-by-six": {"Prefix": "10.3.8.0/24", "Gateway": "fd00:9::8", "IPVSMethod": "tunnel"},
    "four-by-six-gue": {"Prefix": "10.3.9.0/24", "Gateway": "fd00:9::7", "IPVSMethod": "tunnel", "tunnel": GUE},
    "droute6": {"Prefix": "fd00:3:1::/64", "IPVSMethod": "droute"},
    "ipip6": {"Prefix": "fd00:3:2::/64", "IPVSMethod": "tunnel"},
    "gue6": {"Prefix": "fd00:3:3::/64", "IPVSMethod": "tunnel", "tunnel": {**GUE, "checksum": "remcsum"}},
    "gre6": {"Prefix": "fd00:3:6::/64", "IPVSMethod": "tunnel", "tunnel": {**GRE, "checksum": "csum"}},
    "six-by-four": {"Prefix": "fd00:3:8::/64", "Gateway": "10.9.0.8", "IPVSMethod": "tunnel"},
    "six-by-four-gre": {"Prefix": "fd00:3:9::/64", "Gateway": "10.9.0.7", "IPVSMethod": "tunnel", "tunnel": GRE},
    "local": {"Prefix": "10.9.0.9/32", "Gateway": "", "IPVSMethod": "droute"},
    "local6": {"Prefix": "fd00:9::9/128", "IPVSMethod": "droute"},
}


def backends(*addresses: str, **fields: Any) -> Mapping[str, Mapping[str, Any]]:
    """Return a backend for each address."""
    return {f"b{n}": {f"ipv{ip_address(a).version}": a, "tcp": 80, **fields} for n, a in enumerate(addresses)}


def balanced(port: int, printed: str, **fields: Any) -> Case:
    """Return a service without backends, at one address of IPv4."""
    return Case({"ipv4": "10.1.0.1", "tcp": port, **fields}, f"-A -t 10.1.0.1:{port} {printed}")


def persistent(port: int, printed: str, **persistence: Any) -> Case:
    return balanced(port, printed, persistence=persistence)


CASES = {
    **{name: balanced(port, f"-s {name}", scheduler=name) for port, name in enumerate(sorted(SCHEDULERS), 100)},
    "sh-port": balanced(201, "-s sh -b sh-port", scheduler="sh", scheduler_flags=["sh-port"]),
    "sh-both": balanced(
        202, "-s sh -b sh-fallback,sh-port", scheduler="sh", scheduler_flags=["sh-port", "sh-fallback"]
    ),
    "mh-fallback": balanced(203, "-s mh -b mh-fallback", scheduler="mh", scheduler_flags=["mh-fallback"]),
    "mh-both": balanced(204, "-s mh -b mh-fallback,mh-port", scheduler="mh", scheduler_flags=["flag-1", "mh-port"]),
    "flags": balanced(205, "-s wlc -b flag-1,flag-2,flag-3", scheduler_flags=["flag-1", "flag-2", "flag-3"]),
    "persistent": persistent(301, "-s wlc -p 300"),
    "persistent-long": persistent(302, "-s wlc -p 2678400", timeout=31 * 86400),
    "persistent-mask": persistent(303, "-s wlc -p 60 -M 255.255.240.0", timeout=60, netmask="255.255.240.0"),
    "persistent-length": persistent(304, "-s wlc -p 300 -M 255.0.0.0", netmask=8),
    "persistent6": Case(
        {"ipv6": "fd00:1::1", "tcp": 305, "persistence": {"timeout": 1, "netmask": 56}},
        "-A -t [fd00:1::1]:305 -s wlc -p 1 -M 56",
    ),
    "persistent46": Case(
        {"ipv4": "10.1.0.1", "ipv6": "fd00:1::1", "tcp": 306, "persistence": {"netmask": 1}},
        "-A -t 10.1.0.1:306 -s wlc -p 300\n-A -t [fd00:1::1]:306 -s wlc -p 300 -M 1",
    ),
    "one-packet": Case(
        {"ipv4": "10.1.0.1", "ipv6": "fd00:1::1", "udp": 53, "one_packet": True},
        "-A -u 10.1.0.1:53 -s wlc -o\n-A -u [fd00:1::1]:53 -s wlc -o",
    ),
    "one-packet-mark": Case({"fwmark": 53, "one_packet": True}, "-A -f 53 -s wlc -o"),
    "mark": Case({"fwmark": 1}, "-A -f 1 -s wlc\n-a -f 1 -r 10.3.0.1:0 -m -w 10", backends("10.3.0.1")),
    "mark6": Case(
        {"fwmark": 2**31 - 1, "ipv6": "fd00:1::1", "tcp": 80, "persistence": {"netmask": 64}},
        "-A -f 2147483647 -6 -s wlc -p 300 -M 64\n-a -f 2147483647 -6 -r [fd00:3::1]:8080 -m -w 10",
        backends("fd00:3::1", tcp=8080),
    ),
    "mark46": Case(
        {"fwmark": 46, "ipv4": "10.1.0.1", "ipv6": "fd00:1::1", "tcp": 80},
        "-A -f 46 -s wlc\n-A -f 46 -6 -s wlc\n"
        "-a -f 46 -r 10.3.1.1:0 -g -w 10\n-a -f 46 -6 -r [fd00:3:2::1]:0 -i -w 10 --tun-type ipip",
        backends("10.3.1.1", "fd00:3:2::1"),
    ),
    "sctp": Case(
        {"ipv4": "10.1.0.1", "ipv6": "fd00:1::1", "sctp": 9},
        "-A --sctp-service 10.1.0.1:9 -s wlc\n-A --sctp-service [fd00:1::1]:9 -s wlc\n"
        "-a --sctp-service 10.1.0.1:9 -r 10.3.0.1:99 -m -w 10\n"
        "-a --sctp-service [fd00:1::1]:9 -r [fd00:3::1]:99 -m -w 10",
        backends("10.3.0.1", "fd00:3::1", sctp=99),
    ),
    "methods": Case(
        {"ipv4": "10.1.0.2", "tcp": 80},
        """\
-A -t 10.1.0.2:80 -s wlc
-a -t 10.1.0.2:80 -r 10.3.0.1:80 -m -w 65535
-a -t 10.1.0.2:80 -r 10.3.1.1:80 -g -w 65535
-a -t 10.1.0.2:80 -r 10.3.2.1:80 -i -w 65535 --tun-type ipip
-a -t 10.1.0.2:80 -r 10.3.3.1:80 -i -w 65535 --tun-type gue --tun-port 6080 --tun-nocsum
-a -t 10.1.0.2:80 -r 10.3.4.1:80 -i -w 65535 --tun-type gue --tun-port 6080 --tun-csum
-a -t 10.1.0.2:80 -r 10.3.5.1:80 -i -w 65535 --tun-type gue --tun-port 6080 --tun-remcsum
-a -t 10.1.0.2:80 -r 10.3.6.1:80 -i -w 65535 --tun-type gre --tun-nocsum
-a -t 10.1.0.2:80 -r 10.3.7.1:80 -i -w 65535 --tun-type gre --tun-csum
-a -t 10.1.0.2:80 -r [fd00:9::8]:80 -i -w 65535 --tun-type ipip
-a -t 10.1.0.2:80 -r [fd00:9::7]:80 -i -w 65535 --tun-type gue --tun-port 6080 --tun-nocsum
-a -t 10.1.0.2:80 -r 10.9.0.9:80 -g -w 65535
""",
        backends(*(f"10.3.{n}.1" for n in range(10)), OWN4, weight=65535),
    ),
    "methods6": Case(
        {"ipv6": "fd00:1::2", "tcp": 80},
        """\
-A -t [fd00:1::2]:80 -s wlc
-a -t [fd00:1::2]:80 -r [fd00:3::1]:80 -m -w 0
-a -t [fd00:1::2]:80 -r [fd00:3:1::1]:80 -g -w 0
-a -t [fd00:1::2]:80 -r [fd00:3:2::1]:80 -i -w 0 --tun-type ipip
-a -t [fd00:1::2]:80 -r [fd00:3:3::1]:80 -i -w 0 --tun-type gue --tun-port 6080 --tun-remcsum
-a -t [fd00:1::2]:80 -r [fd00:3:6::1]:80 -i -w 0 --tun-type gre --tun-csum
-a -t [fd00:1::2]:80 -r 10.9.0.8:80 -i -w 0 --tun-type ipip
-a -t [fd00:1::2]:80 -r 10.9.0.7:80 -i -w 0 --tun-type gre --tun-nocsum
-a -t [fd00:1::2]:80 -r [fd00:9::9]:80 -g -w 0
""",
        backends("fd00:3::1", *(f"fd00:3:{n}::1" for n in (1, 2, 3, 6, 8, 9)), OWN6, weight=0),
    ),
    "localnode": Case(
        {"ipv4": "10.1.0.3", "tcp": 80},
        "-A -t 10.1.0.3:80 -s wlc\n-a -t 10.1.0.3:80 -r 127.0.0.1:8080 -m -w 10",
        backends("127.0.0.1", tcp=8080),
    ),
    "localnode6": Case(
        {"ipv6": "fd00:1::3", "tcp": 80},
        "-A -t [fd00:1::3]:80 -s wlc\n-a -t [fd00:1::3]:80 -r [::1]:8080 -m -w 10",
        backends("::1", tcp=8080),
    ),
    "limits": Case(
        {"ipv4": "10.1.0.4", "tcp": 80},
        "-A -t 10.1.0.4:80 -s wlc\n-a -t 10.1.0.4:80 -r 10.3.0.1:80 -m -w 10\n"
        "-a -t 10.1.0.4:80 -r 10.3.1.1:80 -g -w 10\n-a -t 10.1.0.4:80 -r 10.3.3.1:80 -i -w 10 "
        "--tun-type gue --tun-port 6080 --tun-nocsum",
        {
            **backends("10.3.0.1", upper_threshold=9, lower_threshold=4),
            "upper": {"ipv4": "10.3.1.1", "tcp": 80, "upper_threshold": 7},
            "most": {"ipv4": "10.3.3.1", "tcp": 80, "upper_threshold": 2**31 - 1, "lower_threshold": 2**31 - 1},
        },
    ),
}
THRESHOLDS = {"10.3.0.1": (9, 4), "10.3.1.1": (7, 0), "10.3.3.1": (2**31 - 1, 2**31 - 1)}


@pytest.fixture(scope="module")
def made(running: tuple[Node, Tree]) -> list[str]:
    """The kernel's table once a node has made it of all services at once; the node has printed the same."""
    node, tree = running
    subprocess.run(
        ["ip", "-batch", "-"],
        input=f"addr add {OWN4}/32 dev lo\naddr add {OWN6}/128 dev lo nodad\n",
        text=True,
        check=True,
    )
    for name, route in ROUTES.items():
        tree.put(f"routes/{name}", route)
    for name, (frontend, _, ends) in CASES.items():
        tree.service(name, frontend, **ends)
    node.wait_for_table([line for case in CASES.values() for line in table(case.printed)])
    return saved()


@pytest.fixture(scope="module")
def kernel(running: tuple[Node, Tree]) -> Iterator[NetlinkIpvs]:
    """The kernel in the network namespace of that node."""
    kernel = open_kernel()
    yield kernel
    kernel.close()


@pytest.fixture
def empty() -> Iterator[NetlinkIpvs]:
    """The kernel in a network namespace of the test's own."""
    with network_namespace():
        kernel = open_kernel()
        yield kernel
        kernel.close()


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_kernel_has_the_configured_settings(made: list[str], case: Case) -> None:
    assert set(table(case.printed)) <= set(made)


def test_thresholds_are_written_although_no_saved_table_has_them(made: list[str], kernel: NetlinkIpvs) -> None:
    limits = VirtualServer(Family.IPV4, Protocol.TCP, ip_address("10.1.0.4"), 80)
    reals = kernel.read().reals[limits]
    assert {str(real.address): (how.upper, how.lower) for real, how in reals.items()} == THRESHOLDS
    shown = [line.split() for line in ipvsadm("-Ln", "--thresholds").splitlines()]
    printed = {words[1]: words[2:4] for words in shown if words[:1] == ["->"]}
    assert (printed["10.3.0.1:80"], printed["10.3.1.1:80"]) == (["9", "4"], ["7", "0"])


def test_table_saved_by_ipvsadm_is_restored_unchanged(made: list[str], kernel: NetlinkIpvs, empty: NetlinkIpvs) -> None:
    ipvsadm("-R", stdin="\n".join(made))
    there, again = kernel.read(), empty.read()
    assert again.virtuals == there.virtuals
    assert again == without_thresholds(there)
    assert saved() == made


def without_thresholds(table: Table) -> Table:
    """Return a copy of what `ipvsadm -S` can say."""
    rows = ((v, how, table.reals[v]) for v, how in table.virtuals.items())
    return table_of(
        (v, how, {real: msgspec.structs.replace(s, upper=0, lower=0) for real, s in reals.items()})
        for v, how, reals in rows
    )


HOW = [
    ({"IPVSMethod": "masq"}, "-m -w 10"),
    ({"IPVSMethod": "tunnel"}, "-i -w 10"),
    ({"IPVSMethod": "tunnel", "tunnel": GUE}, "-i -w 10 --tun-type gue --tun-port 6080 --tun-nocsum"),
    (
        {"IPVSMethod": "tunnel", "tunnel": {"type": "gue", "port": 6081, "checksum": "remcsum"}},
        "-i -w 10 --tun-type gue --tun-port 6081 --tun-remcsum",
    ),
    ({"IPVSMethod": "tunnel", "tunnel": GRE}, "-i -w 10 --tun-type gre --tun-nocsum"),
    ({"IPVSMethod": "tunnel", "tunnel": {**GRE, "checksum": "csum"}}, "-i -w 10 --tun-type gre --tun-csum"),
    ({"IPVSMethod": "tunnel", "tunnel": {}}, "-i -w 10"),
    ({"IPVSMethod": "droute"}, "-g -w 10"),
    ({"IPVSMethod": "masq"}, "-m -w 10"),
]
BALANCE = [
    ({}, "-s wlc"),
    ({"scheduler": "sh", "scheduler_flags": ["sh-port"]}, "-s sh -b sh-port"),
    ({"scheduler": "sh", "scheduler_flags": ["sh-fallback"]}, "-s sh -b sh-fallback"),
    ({"scheduler": "mh"}, "-s mh"),
    ({"persistence": {}}, "-s wlc -p 300"),
    ({"persistence": {"timeout": 60}, "one_packet": True}, "-s wlc -p 60 -o"),
    ({"persistence": {"timeout": 60, "netmask": 64}, "one_packet": True}, "-s wlc -p 60 -M 64 -o"),
    ({"persistence": {"timeout": 60}}, "-s wlc -p 60"),
    ({"scheduler": "rr"}, "-s rr"),
]
LIMITS = [
    ({}, "-m -w 10"),
    ({"upper_threshold": 9}, "-m -w 10 -x 9"),
    ({"upper_threshold": 9, "lower_threshold": 4}, "-m -w 10 -x 9 -y 4"),
    ({"upper_threshold": 4, "lower_threshold": 4}, "-m -w 10 -x 4 -y 4"),
    ({"upper_threshold": 5, "lower_threshold": 4, "weight": 0}, "-m -w 0 -x 5 -y 4"),
    ({"weight": 65535}, "-m -w 65535"),
    ({"upper_threshold": 2**31 - 1, "weight": 1}, "-m -w 1 -x 2147483647"),
    ({"weight": 1}, "-m -w 1"),
    ({}, "-m -w 10"),
]


MIXED = [HOW[turn] for turn in (1, 2, 3, 4, 5, 6, 2, 4, 1)]  # for another family's gateway there is no other method


def test_each_edit_is_one_operation_with_the_effect_of_ipvsadm(
    live: tuple[Node, Tree], kernel: NetlinkIpvs, empty: NetlinkIpvs
) -> None:
    node, tree = live
    commands = ["-A -t 10.1.0.1:80 -s wlc", "-A -t 10.1.0.2:80 -s wlc", "-A --sctp-service [fd00:1::1]:80 -s wlc"]
    add, edit = ("-a", "-A"), ("-e", "-E")
    for turn, (four, mixed, balance, limits) in enumerate(zip(HOW, MIXED, BALANCE, LIMITS, strict=True)):
        tree.put("routes/four", {"Prefix": "10.3.0.0/16", **four[0]})
        tree.put("routes/mixed", {"Prefix": "10.4.0.0/16", "Gateway": "fd00:9::1", **mixed[0]})
        tree.service("four", {"ipv4": "10.1.0.1", "tcp": 80}, b={"ipv4": "10.3.0.1", "tcp": 80})
        tree.service("mixed", {"ipv4": "10.1.0.2", "tcp": 80}, b={"ipv4": "10.4.0.1", "tcp": 80})
        tree.service("marked", {"fwmark": 7, "ipv6": "fd00:1::1", "udp": 53, **balance[0]})
        tree.service("limits", {"ipv6": "fd00:1::1", "sctp": 80}, b={"ipv6": "fd00:3::1", "sctp": 80, **limits[0]})
        real, virtual = edit if turn else add
        commands += [
            f"{real} -t 10.1.0.1:80 -r 10.3.0.1:80 {four[1]}",
            f"{real} -t 10.1.0.2:80 -r [fd00:9::1]:80 {mixed[1]}",
            f"{virtual} -f 7 -6 {balance[1]}",
            f"{real} --sctp-service [fd00:1::1]:80 -r [fd00:3::1]:80 {limits[1]}",
        ]
        expected = sorted(f"ipvsadm {command}" for command in commands)
        node.wait_for(lambda expected=expected: sorted(node.operations) == expected)  # type: ignore[misc]
        ipvsadm("-R", stdin="\n".join(commands))
        assert kernel.read() == empty.read()
        assert node.tables[-1] == saved()
        node.forget()
        commands.clear()


TUNNELS = (
    *(Tunnel(), Tunnel(TunnelType.GRE), Tunnel(TunnelType.GRE, 0, TunnelChecksum.CSUM)),
    *(Tunnel(TunnelType.GUE, port, checksum) for port in (1, 6080) for checksum in TunnelChecksum),
)
TUNNELLED = [RealServerSettings(Method.TUNNEL, 1, tunnel=tunnel) for tunnel in TUNNELS]
REALS = [
    *TUNNELLED,
    *(RealServerSettings(method, 1) for method in (Method.MASQ, Method.DROUTE)),
    *(RealServerSettings(Method.MASQ, weight, *limits) for weight in (0, 65535) for limits in ((9, 4), (4, 0))),
]


def balances(family: Family) -> list[VirtualServerSettings]:
    """Return ways to balance, each with what goes with persistence and what goes without."""
    alone, grouped = (0xFFFFFFFF, 0xFFFFFF00) if family is Family.IPV4 else (128, 64)
    none, kept = ServiceFlag(0), ServiceFlag.PERSISTENT
    shared = [(none, 0, alone), (kept, 300, alone), (kept, 60, grouped), (kept | ServiceFlag.ONE_PACKET, 60, alone)]
    hashed = [ServiceFlag.SCHED_1, ServiceFlag.SCHED_2, ServiceFlag.SCHED_1 | ServiceFlag.SCHED_2]
    return [
        *(VirtualServerSettings(name, *how) for name in sorted(SCHEDULERS) for how in shared[:1]),
        *(VirtualServerSettings("rr", *how) for how in shared),
        *(VirtualServerSettings(name, flags, 0, alone) for name in ("sh", "mh") for flags in hashed),
    ]


@pytest.mark.parametrize("family", Family)
def test_any_settings_are_changed_to_any_others_by_one_step(empty: NetlinkIpvs, family: Family) -> None:
    own, other = (ip_address(a) for a in ("10.0.0.1", "fd00::1")[:: 1 if family is Family.IPV4 else -1])
    virtual = VirtualServer(family, Protocol.UDP, own, 80)
    ways = balances(family)
    present = table_of([(virtual, ways[0], {RealServer(own, 80): REALS[0], RealServer(other, 80): TUNNELLED[0]})])
    assert empty.apply(list(diff(present, Table()))) == [0] * 3
    for real, choices in ((None, ways), (RealServer(own, 80), REALS), (RealServer(other, 80), TUNNELLED)):
        for settings in (one for pair in permutations(choices, 2) for one in pair):
            wanted = present.copy()
            wanted.apply(Step(Op.EDIT_REAL, virtual, real, settings))
            steps = list(diff(wanted, present))
            assert len(steps) <= 1
            assert empty.apply(steps) == [0] * len(steps)
            present = wanted
            assert empty.read_virtual(virtual) == (present.virtuals[virtual], present.reals[virtual])
