"""The values of `clusterf doctor`: facts about a machine, and findings.

`clusterf.doctor.facts` reads facts, `clusterf.doctor.checks` judges them.
"""

from collections.abc import Mapping
from ipaddress import IPv4Interface, IPv6Interface
from typing import Literal, NamedTuple

__all__ = ["Conf", "ConnectionTable", "Facts", "Finding", "InterfaceFacts", "Level", "Modules"]

Level = Literal["ok", "warn", "bad"]


class Finding(NamedTuple):
    """The result of one check."""

    level: Level
    # what was checked, one word
    check: str
    text: str
    # the shell command that fixes it, "" if there is none
    command: str = ""


class Modules(NamedTuple):
    """Modules of the kernel: those present in it, and those it can load, None if unknown."""

    present: frozenset[str]
    loadable: frozenset[str] | None


class Conf(NamedTuple):
    """Settings below net.ipv4.conf of one interface, or of `all` or `default`."""

    rp_filter: int = 0
    arp_ignore: int = 0
    arp_announce: int = 0


class InterfaceFacts(NamedTuple):
    """A network interface; `kind` is the kernel's name for its type, "" for a physical one."""

    name: str
    kind: str
    up: bool
    loopback: bool
    # whether it answers ARP for its addresses
    arp: bool
    conf: Conf
    addresses: tuple[IPv4Interface | IPv6Interface, ...] = ()


class ConnectionTable(NamedTuple):
    """The table of IPVS's connections."""

    # the binary logarithm of the largest number of buckets
    bits: int
    # whether it grows up to that as needed
    grows: bool
    connections: int
    # the largest number of connections, None if there is no limit
    limit: int | None


class Facts(NamedTuple):
    """The facts about a machine. Memory is in bytes."""

    kernel: str
    root: bool
    net_admin: bool
    # the capabilities that are missing for starting processes of other users, and the package's users that are
    unable: tuple[str, ...]
    nameless: tuple[str, ...]
    modules: Modules
    ipvs: bool
    # why IPVS does not respond over netlink, "" if it does
    refused: str
    # whether sysctls cannot be written, even by root
    read_only: bool
    # net.ipv4.vs.*
    vs: Mapping[str, int]
    # by version of IP, for those that the machine has
    forwarding: Mapping[int, bool]
    # the versions of IP with masquerading real servers
    masq: frozenset[int]
    all: Conf
    default: Conf
    interfaces: tuple[InterfaceFacts, ...]
    table: ConnectionTable | None
    memory: int
    # entries of netfilter's connection tracking and their limit, None if it is not loaded
    tracked: tuple[int, int] | None
