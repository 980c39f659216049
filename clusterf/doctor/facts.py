"""The facts that `clusterf.doctor.checks` judges; nothing is changed.

Those about the network are of the network namespace of the thread that reads.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from ipaddress import IPv4Interface, IPv6Interface, ip_interface
from pathlib import Path
from typing import NamedTuple, TypeVar

from clusterf.doctor.model import Conf, ConnectionTable, Facts, InterfaceFacts, Modules
from clusterf.host.capabilities import CAP_NET_ADMIN, CHANGING_USERS, permitted
from clusterf.host.rtnetlink import RtnetlinkInterfaces
from clusterf.host.users import NODE_USER, PROBE_USER, has_user
from clusterf.ipvs.kernel import Unavailable
from clusterf.ipvs.netlink.client import open_kernel
from clusterf.reconcile.sysctls import VALUES

__all__ = ["RealServers", "gather", "parse_modules", "parse_real_servers"]

SYS = Path("/proc/sys/net")
THREAD = Path("/proc/thread-self")
NET = THREAD / "net"  # /proc/net is that of the process, not of the thread

_Key = TypeVar("_Key")


class RealServers(NamedTuple):
    """A summary of all real servers in /proc/net/ip_vs."""

    # the versions of IP with masquerading real servers
    masq: frozenset[int] = frozenset()
    connections: int = 0


def gather() -> Facts:
    """Return the facts. Raises OSError if the interfaces or /proc cannot be read; other missing facts are no error."""
    ipvs, net_admin = (NET / "ip_vs").exists(), _has_net_admin()
    reals = parse_real_servers(_lines(NET / "ip_vs"))
    return Facts(
        kernel=os.uname().release,
        root=os.geteuid() == 0,
        net_admin=net_admin,
        unable=tuple(name for name, number in CHANGING_USERS.items() if number not in permitted()),
        nameless=tuple(name for name in (NODE_USER, PROBE_USER) if not has_user(name)),
        modules=_modules(),
        ipvs=ipvs,
        refused=_refusal() if ipvs and net_admin else "",
        read_only=bool(os.statvfs("/proc/sys").f_flag & os.ST_RDONLY),
        vs=dict(_numbers({name: SYS / "ipv4/vs" / name for name in VALUES})),
        forwarding=_forwarding(),
        masq=reals.masq,
        all=_conf("all"),
        default=_conf("default"),
        interfaces=tuple(_interfaces()),
        table=_table(reals),
        memory=os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        tracked=_tracked(),
    )


def parse_real_servers(lines: Iterable[str]) -> RealServers:
    """Return the summary of the lines of /proc/net/ip_vs, such as `-> 0A030001:0050 Masq 1 5 0`."""
    masq: set[int] = set()
    connections = 0
    for line in lines:
        match line.split():
            case ["->", address, method, _, active, inactive] if active.isdigit() and inactive.isdigit():
                connections += int(active) + int(inactive)
                if method == "Masq":
                    masq.add(6 if address.startswith("[") else 4)
    return RealServers(frozenset(masq), connections)


def parse_modules(lines: Iterable[str]) -> frozenset[str]:
    """Return the names of the modules in modules.dep or modules.builtin, which list files."""
    files = (line.split(":")[0].rpartition("/")[2] for line in lines)
    return frozenset(file.partition(".")[0].strip().replace("-", "_") for file in files)


def _has_net_admin() -> bool:
    lines = (THREAD / "status").read_text().splitlines()
    line = next(line for line in lines if line.startswith("CapEff:"))
    return bool(int(line.split()[1], 16) >> CAP_NET_ADMIN & 1)


def _modules() -> Modules:
    folder = Path("/lib/modules", os.uname().release)
    loaded = {line.split()[0] for line in _lines(Path("/proc/modules"))}
    listed = (folder / "modules.dep").exists()
    return Modules(
        parse_modules(_lines(folder / "modules.builtin")) | loaded,
        parse_modules(_lines(folder / "modules.dep")) if listed else None,
    )


def _refusal() -> str:
    try:
        open_kernel().close()
    except Unavailable as error:
        return str(error)
    return ""


def _forwarding() -> dict[int, bool]:
    files = {4: SYS / "ipv4/ip_forward", 6: SYS / "ipv6/conf/all/forwarding"}
    return {version: bool(value) for version, value in _numbers(files)}


def _conf(name: str) -> Conf:
    return Conf(**dict(_numbers({field: SYS / "ipv4/conf" / name / field for field in Conf._fields})))


def _interfaces() -> Iterator[InterfaceFacts]:
    held: dict[int, list[IPv4Interface | IPv6Interface]] = {}
    interfaces, addresses = RtnetlinkInterfaces().read_all()
    for index, address, length in addresses:
        held.setdefault(index, []).append(ip_interface(f"{address}/{length}"))
    for one in interfaces:
        yield InterfaceFacts(
            name=os.fsencode(one.name).decode(errors="backslashreplace"),
            kind=one.kind,
            up=one.up,
            loopback=one.loopback,
            arp=one.arp,
            conf=_conf(one.name),
            addresses=tuple(held.get(one.index, ())),
        )


def _table(reals: RealServers) -> ConnectionTable | None:
    vs = SYS / "ipv4/vs"
    found = dict(
        _numbers({"bits": Path("/sys/module/ip_vs/parameters/conn_tab_bits"), "limit": vs / "conn_max"}),
    )
    if "bits" not in found:
        return None
    # only some kernels count connections
    counts = (line.split()[1] for line in _lines(NET / "ip_vs_status") if line.startswith("Conns:"))
    return ConnectionTable(
        bits=found["bits"],
        grows=(vs / "conn_lfactor").exists(),
        connections=int(next(counts, reals.connections)),
        limit=found.get("limit"),
    )


def _tracked() -> tuple[int, int] | None:
    found = dict(_numbers({name: SYS / f"netfilter/nf_conntrack_{name}" for name in ("count", "max")}))
    return (found["count"], found["max"]) if len(found) == 2 else None


def _numbers(files: Mapping[_Key, Path]) -> Iterator[tuple[_Key, int]]:
    """Yield the number in each file, by its key; missing files are skipped."""
    for key, file in files.items():
        for line in _lines(file):
            yield key, int(line)


def _lines(file: Path) -> list[str]:
    """Return the lines of a file, none if it is missing or unreadable."""
    try:
        return file.read_text(errors="replace").splitlines()
    except (FileNotFoundError, PermissionError):
        return []
