"""Facts of a machine on which `clusterf doctor` finds nothing, and what it finds when some are changed."""

from ipaddress import ip_address, ip_interface

from clusterf.doctor.checks import check_director, check_real_server
from clusterf.doctor.model import Conf, ConnectionTable, Facts, InterfaceFacts, Modules
from clusterf.reconcile.sysctls import RECOMMENDED

__all__ = ["ETH", "GIB", "LO", "TUNNEL", "VIP4", "VIP6", "WELL", "director", "held", "only", "real_server"]

GIB = 1 << 30
VIP4, VIP6 = ip_address("10.1.1.1"), ip_address("fd00:1::1")
LO = InterfaceFacts("lo", "", up=True, loopback=True, arp=False, conf=Conf(rp_filter=1))
ETH = InterfaceFacts("eth0", "", up=True, loopback=False, arp=True, conf=Conf())
TUNNEL = InterfaceFacts("tunl0", "ipip", up=True, loopback=False, arp=False, conf=Conf())
WELL = Facts(
    kernel="6.1.0",
    root=True,
    net_admin=True,
    unable=(),
    nameless=(),
    modules=Modules(frozenset({"ip_vs", "ip_vs_rr"}), frozenset({"ip_vs", "ip_vs_rr", "ip_vs_mh"})),
    ipvs=True,
    refused="",
    read_only=False,
    vs={**RECOMMENDED, "conntrack": 0},
    forwarding={4: True, 6: True},
    masq=frozenset({4, 6}),
    all=Conf(),
    default=Conf(),
    interfaces=(LO, ETH),
    table=ConnectionTable(bits=16, grows=False, connections=0, limit=None),
    memory=GIB,
    tracked=(0, 1000),
)


def director(wanted=RECOMMENDED, vips=(), **changes):
    """Return the findings that are not ok about a director with these changes."""
    findings = list(check_director(WELL._replace(**changes), ["mh", "rr"], wanted, vips))
    return [finding for finding in findings if finding.level != "ok"]


def real_server(*vips, **changes):
    """Return those about a real server."""
    facts = WELL._replace(**{"all": Conf(arp_ignore=1, arp_announce=2)} | changes)
    return [finding for finding in check_real_server(facts, vips) if finding.level != "ok"]


def only(findings):
    """Return the only finding, without its text."""
    (finding,) = findings
    return finding.level, finding.check, finding.command


def held(interface, *addresses):
    """Return the interface with these addresses."""
    return interface._replace(addresses=tuple(map(ip_interface, addresses)))
