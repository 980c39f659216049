"""The checks of `clusterf doctor`, with facts as values."""

import errno
import json
import re
import shlex
from ipaddress import ip_address, ip_interface

import msgspec
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from pyroute2 import AsyncIPRoute
from pyroute2.netlink.exceptions import NetlinkError

from clusterf.cli.doctor import finding_line
from clusterf.cli.main import main
from clusterf.doctor import facts as facts_module
from clusterf.doctor.checks import check_director, check_real_server
from clusterf.doctor.facts import RealServers, gather, parse_modules, parse_real_servers
from clusterf.doctor.model import Conf, ConnectionTable, Facts, Finding, InterfaceFacts, Modules
from clusterf.host.interfaces import PresentAddress
from clusterf.reconcile.sysctls import RECOMMENDED
from tests.clusterf.support import fake_interfaces

GIB = 1 << 30
VIP4, VIP6 = ip_address("10.1.1.1"), ip_address("fd00:1::1")
LO = InterfaceFacts("lo", "", up=True, loopback=True, arp=False, conf=Conf(rp_filter=1))
ETH = InterfaceFacts("eth0", "", up=True, loopback=False, arp=True, conf=Conf())
TUNNEL = InterfaceFacts("tunl0", "ipip", up=True, loopback=False, arp=False, conf=Conf())
WELL = Facts(
    kernel="6.1.0",
    root=True,
    net_admin=True,
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
    """Return what is found about a director that is well but for the changes, without what is well."""
    findings = list(check_director(WELL._replace(**changes), ["mh", "rr"], wanted, vips))
    return [finding for finding in findings if finding.level != "ok"]


def real_server(*vips, **changes):
    """Return the like about a real server."""
    facts = WELL._replace(**{"all": Conf(arp_ignore=1, arp_announce=2)} | changes)
    return [finding for finding in check_real_server(facts, vips) if finding.level != "ok"]


def only(findings):
    (finding,) = findings
    return finding.level, finding.check, finding.command


def held(interface, *addresses):
    return interface._replace(addresses=tuple(map(ip_interface, addresses)))


def test_nothing_is_found_where_all_is_well():
    assert director() == []
    assert real_server() == []


@pytest.mark.parametrize("loadable", [None, frozenset({"ip_vs"})])
def test_a_module_that_is_not_loaded_is_named(loadable):
    modules = Modules(frozenset(), loadable)
    assert only(director(ipvs=False, modules=modules, vs={}, table=None)) == ("bad", "module", "modprobe ip_vs")


def test_a_kernel_without_the_module_is_not_told_to_load_it():
    (finding,) = director(ipvs=False, modules=Modules(frozenset(), frozenset({"dummy"})), vs={}, table=None)
    assert (finding.level, finding.command) == ("bad", "")
    assert "6.1.0 has no module ip_vs" in finding.text


@pytest.mark.parametrize(
    ("loadable", "text"), [(None, "nothing here tells if they can be"), (frozenset({"ip_vs"}), "not in the kernel")]
)
def test_schedulers_that_the_kernel_may_not_have_are_a_warning(loadable, text):
    findings = director(modules=Modules(frozenset({"ip_vs"}), loadable))
    assert only(findings) == ("warn", "schedulers", "modprobe -a ip_vs_mh ip_vs_rr")
    assert text in findings[0].text


@pytest.mark.parametrize(("root", "command"), [(False, "sudo clusterf doctor"), (True, "")])
def test_a_director_needs_the_capability(root, command):
    assert only(director(net_admin=False, root=root)) == ("bad", "capability", command)


def test_an_ipvs_that_does_not_answer_is_bad():
    assert only(director(refused="no answer")) == ("bad", "netlink", "")


def test_a_setting_that_differs_is_a_warning_with_the_command():
    vs = {**WELL.vs, "sloppy_tcp": 0}
    assert only(director(vs=vs)) == ("warn", "sysctl", "sysctl -w net.ipv4.vs.sloppy_tcp=1")
    assert director({"sloppy_tcp": 0}, vs=vs) == []


def test_a_setting_that_the_kernel_does_not_have_is_a_warning():
    assert only(director(vs={name: 1 for name in RECOMMENDED if name != "sloppy_tcp"})) == ("warn", "sysctl", "")


def test_connection_tracking_matters_only_if_ipvs_takes_part():
    full = (900, 1000)
    grow = ("warn", "conntrack", "sysctl -w net.netfilter.nf_conntrack_max=2000")
    assert director(tracked=full) == []
    assert director(tracked=None) == []
    assert only(director(tracked=full, vs={**WELL.vs, "conntrack": 1})) == grow
    wanted = {"conntrack": 1}
    assert only(director(wanted, tracked=None, vs=wanted)) == ("bad", "conntrack", "modprobe nf_conntrack")


def test_forwarding_is_bad_to_miss_where_masq_is_in_use_and_else_a_warning():
    off = {4: True, 6: False}
    command = "sysctl -w net.ipv6.conf.all.forwarding=1"
    assert only(director(forwarding=off)) == ("bad", "forwarding", command)
    assert only(director(forwarding=off, masq=frozenset({4}))) == ("warn", "forwarding", command)
    assert only(director(forwarding={4: False})) == ("bad", "forwarding", "sysctl -w net.ipv4.ip_forward=1")


def test_strict_rp_filter_is_named_by_interface():
    strict = ETH._replace(name="eth0.5", conf=Conf(rp_filter=1))
    command = "sysctl -w net/ipv4/conf/eth0.5/rp_filter=2"
    assert only(director(interfaces=(LO, strict))) == ("warn", "rp_filter", command)
    assert director(interfaces=(LO, strict), all=Conf(rp_filter=2)) == []
    assert director(interfaces=(LO, strict._replace(up=False))) == []


def test_strict_rp_filter_on_the_tunnel_is_bad_for_a_real_server():
    strict = TUNNEL._replace(conf=Conf(rp_filter=1))
    command = "sysctl -w net/ipv4/conf/tunl0/rp_filter=2"
    assert only(real_server(interfaces=(LO, ETH, strict))) == ("bad", "rp_filter", command)
    assert only(director(interfaces=(LO, ETH, strict))) == ("warn", "rp_filter", command)


def test_interfaces_to_come_are_looked_at_too():
    command = "sysctl -w net/ipv4/conf/default/rp_filter=2"
    assert only(director(default=Conf(rp_filter=1))) == ("warn", "rp_filter", command)


def test_what_an_interface_is_named_never_runs():
    name = "$(reboot);'x"
    (finding,) = director(interfaces=(ETH._replace(name=name, conf=Conf(rp_filter=1)),))
    assert shlex.split(finding.command) == ["sysctl", "-w", f"net/ipv4/conf/{name}/rp_filter=2"]


def test_few_buckets_for_the_memory_or_the_connections_are_a_warning():
    command = "echo options ip_vs conn_tab_bits={} >/etc/modprobe.d/clusterf-ip_vs.conf"

    def found(**changes):
        memory = changes.pop("memory", GIB)
        return director(table=WELL.table._replace(**changes), memory=memory)

    assert only(found(bits=12)) == ("warn", "table", command.format(16))
    assert only(found(bits=12, grows=True)) == ("warn", "table", command.format(16))
    assert only(found(memory=64 * GIB)) == ("warn", "table", command.format(20))
    assert only(found(connections=100_000)) == ("warn", "table", command.format(17))
    assert found(bits=12, memory=GIB // 64) == []
    assert found(bits=20, memory=1024 * GIB, connections=1 << 24) == []


def test_a_limit_of_connections_that_is_near_is_a_warning():
    def found(connections, limit):
        return director(table=WELL.table._replace(connections=connections, limit=limit))

    assert found(80, 100) == []
    assert only(found(81, 100)) == ("warn", "table", "sysctl -w net.ipv4.vs.conn_max=200")
    assert found(50_000, 1 << 30) == []


def test_a_proc_that_can_only_be_read_is_a_warning():
    mend = ("warn", "proc", "mount -o remount,bind,rw /proc/sys")
    assert only(director(read_only=True)) == only(real_server(read_only=True)) == mend


def test_a_vip_that_is_nowhere_is_bad_on_either_side():
    assert only(director(vips=[VIP4])) == ("bad", "vip", "ip address add 10.1.1.1/32 dev lo")
    assert only(real_server(VIP6)) == ("bad", "vip", "ip address add fd00:1::1/128 dev lo")
    assert director(vips=[VIP4], interfaces=(held(ETH, "10.1.1.1/24"),)) == []


def test_a_vip_that_a_real_server_has_on_the_wire_is_bad():
    wire = held(ETH, "10.1.1.1/24", "fd00:1::1/64")
    add, remove = "ip address add 10.1.1.1/32 dev lo", "ip address del 10.1.1.1/24 dev eth0"
    assert only(real_server(VIP4, interfaces=(LO, wire))) == ("bad", "vip", f"{add} && {remove}")
    assert only(real_server(VIP4, interfaces=(held(LO, "10.1.1.1/32"), wire))) == ("bad", "vip", remove)
    assert real_server(VIP4, VIP6, interfaces=(held(TUNNEL, "10.1.1.1/32", "fd00:1::1/128"), ETH)) == []


@pytest.mark.parametrize(
    ("everywhere", "own", "settings"),
    [
        (Conf(), Conf(), "net.ipv4.conf.all.arp_ignore=1 net.ipv4.conf.all.arp_announce=2"),
        (Conf(arp_announce=2), Conf(arp_announce=1), "net.ipv4.conf.all.arp_ignore=1"),
        (Conf(arp_ignore=1), Conf(arp_announce=1), "net.ipv4.conf.all.arp_announce=2"),
        # of scope host only, where an address on lo need not be one
        (Conf(arp_announce=2), Conf(arp_ignore=3), "net.ipv4.conf.all.arp_ignore=1 net/ipv4/conf/eth0/arp_ignore=1"),
    ],
)
def test_a_real_server_that_answers_arp_for_vips_on_lo_is_bad(everywhere, own, settings):
    found = real_server(all=everywhere, interfaces=(LO, ETH._replace(conf=own)))
    assert only(found) == ("bad", "arp", f"sysctl -w {settings}")
    assert director(all=everywhere, interfaces=(LO, ETH._replace(conf=own))) == []


def test_arp_is_nothing_to_real_servers_of_ipv6():
    assert real_server(VIP6, all=Conf(), interfaces=(held(LO, "fd00:1::1/128"), ETH)) == []


confs = st.builds(Conf, st.integers(0, 2), st.integers(0, 8), st.integers(0, 2))
names = st.text(st.characters(exclude_characters="/: \t\n\r\x0b\x0c", codec="ascii", categories="LNPS"), min_size=1)


@st.composite
def facts(draw):
    """Facts in which settings of any interface, and who has which VIP, may be wrong."""
    addresses = st.lists(st.sampled_from(["10.1.1.1/24", "10.1.1.1/32", "fd00:1::1/64"]), max_size=2, unique=True)
    interfaces = [LO]
    for name in draw(st.lists(names.filter(lambda n: n not in {"all", "default", "lo"}), max_size=3, unique=True)):
        interface = draw(st.sampled_from([ETH, TUNNEL]))._replace(name=name, conf=draw(confs), up=draw(st.booleans()))
        interfaces.append(held(interface, *draw(addresses)))
    return WELL._replace(
        all=draw(confs),
        default=draw(confs),
        interfaces=tuple(interfaces),
        forwarding={4: draw(st.booleans()), 6: draw(st.booleans())},
        vs=draw(st.fixed_dictionaries({name: st.integers(0, 3) for name in RECOMMENDED})),
    )


def after(facts, command):
    """Return the facts once a command was run, as the programs that it names do it."""
    for words in map(shlex.split, command.split(" && ")):
        match words:
            case ["sysctl", "-w", *settings]:
                for setting in settings:
                    facts = after_sysctl(facts, setting)
            case ["ip", "address", ("add" | "del") as verb, address, "dev", name]:
                facts = after_ip(facts, verb, ip_interface(address), name)
    return facts


def after_sysctl(facts, setting):
    key, value = setting.rsplit("=", 1)
    # as sysctl(8) has it, the first of the two is what separates
    words = key.split("/") if re.search(r"[./]", key)[0] == "/" else key.split(".")
    match words:
        case ["net", "ipv4", "vs", name]:
            return facts._replace(vs={**facts.vs, name: int(value)})
        case ["net", "ipv4", "ip_forward"]:
            return facts._replace(forwarding={**facts.forwarding, 4: value == "1"})
        case ["net", "ipv6", "conf", "all", "forwarding"]:
            return facts._replace(forwarding={**facts.forwarding, 6: value == "1"})
        case ["net", "ipv4", "conf", ("all" | "default") as which, name]:
            return facts._replace(**{which: getattr(facts, which)._replace(**{name: int(value)})})
        case ["net", "ipv4", "conf", interface, name]:
            return with_interface(facts, interface, lambda i: i._replace(conf=i.conf._replace(**{name: int(value)})))


def after_ip(facts, verb, address, name):
    def change(interface):
        others = tuple(each for each in interface.addresses if each != address)
        assert verb == "add" or len(others) < len(interface.addresses)
        return interface._replace(addresses=(*others, address) if verb == "add" else others)

    return with_interface(facts, name, change)


def with_interface(facts, name, change):
    assert name in {interface.name for interface in facts.interfaces}
    return facts._replace(interfaces=tuple(change(i) if i.name == name else i for i in facts.interfaces))


@given(facts())
def test_what_the_commands_of_all_findings_do_leaves_none(facts):
    for check in (
        lambda facts: check_director(facts, [], RECOMMENDED, [VIP4]),
        lambda facts: check_real_server(facts, [VIP4, VIP6]),
    ):
        mended = facts
        for finding in check(facts):
            mended = after(mended, finding.command) if finding.command else mended
        assert [finding for finding in check(mended) if finding.level != "ok"] == []


def test_the_table_of_ipvs_tells_of_masquerading_and_connections():
    text = """\
IP Virtual Server version 1.2.1 (size=4096)
Prot LocalAddress:Port Scheduler Flags
  -> RemoteAddress:Port Forward Weight ActiveConn InActConn
TCP  0A6B6B6B:0050 wlc
  -> 0A030101:0050      Route   10     2          3
  -> 0A030102:0050      Masq    10     4          0
TCP  [fd00:0107:0000:0000:0000:0000:0000:0107]:0050 wlc
  -> [fd00:0003:0000:0000:0000:0000:0000:0001]:0050      Tunnel  10     0          1
"""
    assert parse_real_servers(text.splitlines()) == RealServers(frozenset({4}), 10)
    other = text.replace("Tunnel", "Masq  ").replace("Masq    10     4", "Local   10     4")
    assert parse_real_servers(other.splitlines()).masq == {6}


def test_modules_are_known_by_their_files():
    lines = ["kernel/net/netfilter/ipvs/ip_vs.ko.xz: kernel/lib/libcrc32c.ko.xz", "kernel/net/ipv4/nf-x.ko"]
    assert parse_modules(lines) == {"ip_vs", "nf_x"}


def test_the_facts_of_any_machine_can_be_read():
    facts = gather()
    assert "lo" in {interface.name for interface in facts.interfaces}
    assert facts.memory > 0


def test_interfaces_may_have_names_of_any_bytes(monkeypatch):
    interfaces = [
        msgspec.structs.replace(fake_interfaces.ETH, index=n, name=name) for n, name in ((1, "\udcff"), (2, "\u00e9"))
    ]
    addresses = [PresentAddress(1, ip_address("10.1.1.1"), 24)]
    monkeypatch.setattr(facts_module.RtnetlinkInterfaces, "read_all", lambda self: (interfaces, addresses))
    assert [(one.name, one.addresses) for one in gather().interfaces] == [
        (r"\xff", (ip_interface("10.1.1.1/24"),)),
        ("\u00e9", ()),
    ]


@pytest.mark.parametrize("trouble", ["interfaces", "proc"])
def test_what_cannot_be_read_is_one_line(monkeypatch, tmp_path, trouble):
    async def refuse(*_, **__):
        raise NetlinkError(errno.EACCES)

    if trouble == "interfaces":
        monkeypatch.setattr(AsyncIPRoute, "link", refuse)
    else:
        monkeypatch.setattr(facts_module, "THREAD", tmp_path)
    result = CliRunner().invoke(main, ["doctor"], catch_exceptions=False)
    assert result.exit_code == 1
    assert re.fullmatch(r"Error: [^\n]+\n", result.output)


@pytest.mark.parametrize("role", ["director", "real-server"])
def test_the_command_says_how_it_is_and_exits_with_1_if_anything_is_bad(role):
    result = CliRunner().invoke(main, ["doctor", "--json", "--role", role], catch_exceptions=False)
    findings = [Finding(**json.loads(line)) for line in result.stdout.splitlines()]
    assert {finding.level for finding in findings} <= {"ok", "warn", "bad"}
    assert result.exit_code == any(finding.level == "bad" for finding in findings)


def test_a_vip_that_is_nowhere_makes_the_command_fail_and_is_one_line_with_what_mends_it():
    result = CliRunner().invoke(main, ["doctor", "--vip", "198.51.100.77"], catch_exceptions=False)
    assert result.exit_code == 1
    line = "bad: vip: 198.51.100.77 is on no interface: packets to it are not for this machine"
    assert f"{line}; run: ip address add 198.51.100.77/32 dev lo" in result.stdout.splitlines()


@pytest.mark.parametrize(
    "arguments", [["--vip", "x"], ["--vip", "0.0.0.0"], ["--role", "cook"], ["--ipvs-sysctl", "x=1"]]
)
def test_wrong_usage_of_the_command_exits_with_2(arguments):
    assert CliRunner().invoke(main, ["doctor", *arguments]).exit_code == 2


def test_what_an_interface_is_named_does_not_reach_the_terminal():
    line = finding_line(Finding("warn", "rp_filter", "strict on \x1b[2J", "sysctl -w 'net/\x1b[2J'"))
    assert line.text == r"warn: rp_filter: strict on \x1b[2J; run: sysctl -w 'net/\x1b[2J'"
