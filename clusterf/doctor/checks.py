"""What a director or a real server needs, checked against what the machine has.

Pure: from `Facts` to `Finding`s, one line each, with the shell command that
fixes it if there is one.
"""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface

from clusterf.doctor.model import ConnectionTable, Facts, Finding, InterfaceFacts
from clusterf.reconcile.sysctls import sysctl_command

__all__ = ["check_director", "check_real_server"]

IGNORES = (1, 2, 8)  # values of arp_ignore with which ARP requests for an address of lo are not answered
ANNOUNCE = 2  # the value of arp_announce with which such an address is not announced either
STRICT, LOOSE = 1, 2  # values of rp_filter
TUNNELS = frozenset({"ipip", "gre", "sit", "ip6tnl", "ip6gre"})
BUCKET_MEMORY = 1 << 14  # bytes of the machine's memory per bucket of connections
LEAST_BITS, MOST_BITS = 12, 20
MOST_CONNECTIONS = 1 << 30  # the largest conn_max
FULL = 0.8  # the share of a limit above which a warning is due


def check_director(
    facts: Facts,
    schedulers: Sequence[str],
    wanted: Mapping[str, int],
    vips: Sequence[IPv4Address | IPv6Address] = (),
) -> Iterator[Finding]:
    """Yield the findings about a director that needs these schedulers, settings of IPVS and VIPs."""
    yield from _check_modules(facts, schedulers)
    yield _check_capability(facts)
    yield _check_privileges(facts)
    if facts.ipvs and facts.net_admin:
        yield _check_netlink(facts)
    yield from _check_read_only(facts)
    if facts.ipvs:
        yield from _check_sysctls(facts, wanted)
    yield from _check_tracking(facts, wanted)
    yield from _check_forwarding(facts)
    yield from _check_rp_filter(facts, frozenset())
    if facts.table is not None:
        yield from _check_table(facts.table, facts.memory)
    for vip in vips:
        yield _check_held(facts, vip)


def check_real_server(facts: Facts, vips: Sequence[IPv4Address | IPv6Address]) -> Iterator[Finding]:
    """Yield the findings about a real server that is reached by droute or tunnel at these VIPs."""
    yield from _check_read_only(facts)
    for vip in vips:
        held = _check_held(facts, vip)
        yield _check_silent(facts, vip) if held.level == "ok" else held
    if not vips or any(vip.version == 4 for vip in vips):
        yield _check_arp(facts)
    yield from _check_rp_filter(facts, TUNNELS)


def _check_modules(facts: Facts, schedulers: Sequence[str]) -> Iterator[Finding]:
    loadable = facts.modules.loadable
    if not facts.ipvs:
        if loadable is not None and "ip_vs" not in loadable:
            yield Finding("bad", "module", f"kernel {facts.kernel} has no module ip_vs: install a kernel that has it")
        else:
            yield Finding("bad", "module", "ip_vs is not loaded", "modprobe ip_vs")
        return
    yield Finding("ok", "module", "ip_vs is loaded")
    missing = [name for name in schedulers if f"ip_vs_{name}" not in facts.modules.present | (loadable or frozenset())]
    if missing:
        # without a list of modules, as in a container, the kernel may be able to load them nevertheless
        why = "missing in this kernel" if loadable is not None else "not loaded, and there is no list of modules here"
        text = f"{', '.join(missing)}: {why}; needed by frontends that name them"
        yield Finding("warn", "schedulers", text, f"modprobe -a {' '.join(f'ip_vs_{name}' for name in missing)}")
    else:
        yield Finding("ok", "schedulers", "all are loaded, or will be when they are needed")


def _check_capability(facts: Facts) -> Finding:
    if facts.net_admin:
        return Finding("ok", "capability", "CAP_NET_ADMIN is present")
    if facts.root:
        return Finding("bad", "capability", "root, but without CAP_NET_ADMIN, which clusterf-node needs")
    text = "neither root nor CAP_NET_ADMIN, which clusterf-node needs"
    return Finding("bad", "capability", text, "sudo clusterf doctor")


def _check_privileges(facts: Facts) -> Finding:
    """Check whether a node that is started like this can have processes of other users."""
    if not facts.root:
        return Finding("ok", "privileges", "not root: all processes of a node run as the user who starts it")
    if facts.unable:
        containers = ", ".join(name.removeprefix("CAP_") for name in facts.unable)
        text = (
            f"{', '.join(facts.unable)} {'is' if len(facts.unable) == 1 else 'are'} missing: all processes of a node "
            f"run as root; to the unit add CapabilityBoundingSet={' '.join(facts.unable)}, "
            f"to the Compose file cap_add: [{containers}]"
        )
        return Finding("warn", "privileges", text)
    if facts.nameless:
        commands = [f"useradd --system --no-create-home --shell /usr/sbin/nologin {name}" for name in facts.nameless]
        text = (
            f"processes of a node run as users of their own; there is no {' and no '.join(facts.nameless)} to name them"
        )
        return Finding("ok", "privileges", text, " && ".join(commands))
    return Finding("ok", "privileges", "processes of a node run as users of their own")


def _check_netlink(facts: Facts) -> Finding:
    if facts.refused:
        return Finding("bad", "netlink", facts.refused)
    return Finding("ok", "netlink", "IPVS responds")


def _check_read_only(facts: Facts) -> Iterator[Finding]:
    if facts.read_only:
        text = "/proc/sys is mounted read-only, as in most containers: settings cannot be changed from here"
        yield Finding("warn", "proc", text, "mount -o remount,bind,rw /proc/sys")


def _check_sysctls(facts: Facts, wanted: Mapping[str, int]) -> Iterator[Finding]:
    for name, value in wanted.items():
        setting = f"net.ipv4.vs.{name}"
        found = facts.vs.get(name)
        if found is None:
            yield Finding("warn", "sysctl", f"{setting} is missing in this kernel")
        elif found == value:
            yield Finding("ok", "sysctl", f"{setting} is {value}")
        else:
            yield Finding("warn", "sysctl", f"{setting} is {found}, should be {value}", sysctl_command(name, value))


def _check_tracking(facts: Facts, wanted: Mapping[str, int]) -> Iterator[Finding]:
    """Check netfilter's connection tracking, which matters only if IPVS takes part in it."""
    if not (wanted.get("conntrack") or facts.vs.get("conntrack")):
        return
    if facts.tracked is None:
        yield Finding(
            "bad",
            "conntrack",
            "nf_conntrack is not loaded, and net.ipv4.vs.conntrack needs it",
            "modprobe nf_conntrack",
        )
        return
    count, limit = facts.tracked
    text = f"{count} of {limit} tracked connections in use"
    if count > FULL * limit:
        yield Finding("warn", "conntrack", text, f"sysctl -w net.netfilter.nf_conntrack_max={2 * limit}")
    else:
        yield Finding("ok", "conntrack", text)


_FORWARDING = {4: "net.ipv4.ip_forward", 6: "net.ipv6.conf.all.forwarding"}


def _check_forwarding(facts: Facts) -> Iterator[Finding]:
    """Check forwarding, which only the replies of real servers need that are reached by masq."""
    for version, on in facts.forwarding.items():
        setting = _FORWARDING[version]
        if on:
            yield Finding("ok", "forwarding", f"{setting} is on")
        elif version in facts.masq:
            text = f"{setting} is off: the replies of masq real servers are dropped"
            yield Finding("bad", "forwarding", text, f"sysctl -w {setting}=1")
        else:
            text = f"{setting} is off: needed by masq, not by droute or tunnel"
            yield Finding("warn", "forwarding", text, f"sysctl -w {setting}=1")


def _check_rp_filter(facts: Facts, tunnels: frozenset[str]) -> Iterator[Finding]:
    """Find interfaces that drop packets whose replies leave by another one, as they always do for those of `tunnels`.

    The greater of the interface's setting and that of `all` is in force.
    """
    up = [one for one in facts.interfaces if one.up and not one.loopback]
    strict = [one for one in up if max(facts.all.rp_filter, one.conf.rp_filter) == STRICT]
    ends = [one.name for one in strict if one.kind in tunnels]
    others = [one.name for one in strict if one.kind not in tunnels]
    if ends:
        text = f"strict on {', '.join(ends)}: packets from it are dropped, as replies leave by another interface"
        yield Finding("bad", "rp_filter", text, _set_each(ends, "rp_filter", LOOSE))
    if others:
        text = f"strict on {', '.join(others)}: packets are dropped if replies leave by another interface"
        yield Finding("warn", "rp_filter", text, _set_each(others, "rp_filter", LOOSE))
    if max(facts.all.rp_filter, facts.default.rp_filter) == STRICT:
        text = "strict on interfaces created later"
        yield Finding("warn", "rp_filter", text, _set_each(["default"], "rp_filter", LOOSE))
    elif not strict:
        yield Finding("ok", "rp_filter", "strict on no interface")


def _set_each(names: Sequence[str], setting: str, value: int) -> str:
    """Return the command that sets it for each interface; names may have dots, so keys are written with slashes."""
    return shlex.join(["sysctl", "-w", *(f"net/ipv4/conf/{name}/{setting}={value}" for name in names)])


def _check_arp(facts: Facts) -> Finding:
    """Find interfaces that answer ARP for VIPs on lo; here, too, the greater setting is in force."""
    wired = [one for one in facts.interfaces if one.up and one.arp]
    ignoring = [one for one in wired if max(facts.all.arp_ignore, one.conf.arp_ignore) not in IGNORES]
    announcing = [one for one in wired if max(facts.all.arp_announce, one.conf.arp_announce) < ANNOUNCE]
    if not ignoring and not announcing:
        return Finding("ok", "arp", "no interface answers ARP for VIPs on lo, or announces them")
    names = dict.fromkeys(one.name for one in (*ignoring, *announcing))
    settings = _arp_settings(ignoring) + ["net.ipv4.conf.all.arp_announce=2"] * bool(announcing)
    text = f"{', '.join(names)} would answer ARP for VIPs on lo, or announce them, and take their traffic"
    return Finding("bad", "arp", text, shlex.join(["sysctl", "-w", *settings]))


def _arp_settings(ignoring: Sequence[InterfaceFacts]) -> list[str]:
    """Return the settings with which these interfaces ignore ARP for VIPs: `all`, and of those that exceed it."""
    if not ignoring:
        return []
    own = [f"net/ipv4/conf/{one.name}/arp_ignore=1" for one in ignoring if one.conf.arp_ignore > 1]
    return ["net.ipv4.conf.all.arp_ignore=1", *own]


def _holders(
    facts: Facts, vip: IPv4Address | IPv6Address
) -> list[tuple[InterfaceFacts, IPv4Interface | IPv6Interface]]:
    return [(one, address) for one in facts.interfaces for address in one.addresses if address.ip == vip]


def _check_held(facts: Facts, vip: IPv4Address | IPv6Address) -> Finding:
    holders = _holders(facts, vip)
    if not holders:
        text = f"{vip} is on no interface: packets to it are not accepted"
        return Finding("bad", "vip", text, _add_to_lo(vip))
    return Finding("ok", "vip", f"{vip} is on {', '.join(dict.fromkeys(one.name for one, _ in holders))}")


def _check_silent(facts: Facts, vip: IPv4Address | IPv6Address) -> Finding:
    """Find interfaces that answer ARP, or neighbour solicitations, for a VIP because it is their own."""
    holders = _holders(facts, vip)
    loud = [(one, address) for one, address in holders if one.arp]
    if not loud:
        return Finding("ok", "vip", f"{vip} is on {holders[0][0].name}, which does not answer for it on the network")
    commands = [shlex.join(["ip", "address", "del", str(address), "dev", one.name]) for one, address in loud]
    if len(loud) == len(holders):
        commands.insert(0, _add_to_lo(vip))
    names = ", ".join(one.name for one, _ in loud)
    text = f"{vip} is on {names}, which answers for it on the network, and takes its traffic from the director"
    return Finding("bad", "vip", text, " && ".join(commands))


def _add_to_lo(vip: IPv4Address | IPv6Address) -> str:
    return f"ip address add {vip}/{vip.max_prefixlen} dev lo"


def _check_table(table: ConnectionTable, memory: int) -> Iterator[Finding]:
    """Check the table's size: long chains cost time on each packet, a bucket costs next to nothing."""
    most = max(memory // BUCKET_MEMORY, table.connections)
    bits = min(max((most - 1).bit_length(), LEAST_BITS), MOST_BITS)
    size = f"{'at most ' * table.grows}{1 << table.bits} buckets for {table.connections} connections"
    if table.bits < bits:
        text = f"{size}: too few for this machine; changed when ip_vs is loaded again"
        command = f"echo options ip_vs conn_tab_bits={bits} >/etc/modprobe.d/clusterf-ip_vs.conf"
        yield Finding("warn", "table", text, command)
    else:
        yield Finding("ok", "table", size)
    if table.limit is not None and FULL * table.limit < table.connections:
        text = f"{table.connections} of at most {table.limit} connections in use"
        yield Finding("warn", "table", text, f"sysctl -w net.ipv4.vs.conn_max={min(2 * table.limit, MOST_CONNECTIONS)}")
