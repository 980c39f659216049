"""What `clusterf doctor` knows of a machine, and what it finds: the values.

`clusterf.doctor.facts` reads facts, `clusterf.doctor.checks` judges them.
"""

from collections.abc import Mapping
from ipaddress import IPv4Interface, IPv6Interface
from typing import Literal, NamedTuple

__all__ = ["Conf", "ConnectionTable", "Facts", "Finding", "InterfaceFacts", "Level", "Modules"]

Level = Literal["ok", "warn", "bad"]


class Finding(NamedTuple):
    """What is found out about one thing."""

    level: Level
    # what was looked at, one word
    check: str
    text: str
    # the shell command that mends it, "" if there is none
    command: str = ""


class Modules(NamedTuple):
    """Modules of the kernel: those that are in it, and those that it can load, None if that cannot be told."""

    present: frozenset[str]
    loadable: frozenset[str] | None


class Conf(NamedTuple):
    """Settings below net.ipv4.conf of one interface, or of `all` or `default`."""

    rp_filter: int = 0
    arp_ignore: int = 0
    arp_announce: int = 0


class InterfaceFacts(NamedTuple):
    """A network interface; `kind` is the kernel's word for it, "" for hardware."""

    name: str
    kind: str
    up: bool
    loopback: bool
    # whether it answers, on its wire, for the addresses that it has
    arp: bool
    conf: Conf
    addresses: tuple[IPv4Interface | IPv6Interface, ...] = ()


class ConnectionTable(NamedTuple):
    """The table of IPVS's connections."""

    # the logarithm of how many buckets it has at most
    bits: int
    # whether it grows by itself up to that
    grows: bool
    connections: int
    # how many connections there may be, None if there is no such limit
    limit: int | None


class Facts(NamedTuple):
    """What there is. Memory is in bytes."""

    kernel: str
    root: bool
    net_admin: bool
    modules: Modules
    ipvs: bool
    # why IPVS does not answer over netlink, "" if it does
    refused: str
    # whether sysctls can only be read, whoever one is
    read_only: bool
    # net.ipv4.vs.*
    vs: Mapping[str, int]
    # by version of IP, without those that the machine does not have
    forwarding: Mapping[int, bool]
    # the versions of IP of which there are real servers reached by masquerading
    masq: frozenset[int]
    all: Conf
    default: Conf
    interfaces: tuple[InterfaceFacts, ...]
    table: ConnectionTable | None
    memory: int
    # the entries of netfilter's connection tracking and their limit, None if there is none
    tracked: tuple[int, int] | None
