"""The checks of `clusterf doctor`, with facts as values."""

import shlex

import pytest

from clusterf.doctor.checks import check_director
from clusterf.doctor.model import Conf, Modules
from clusterf.reconcile.sysctls import RECOMMENDED
from tests.clusterf.support.doctor_facts import (
    ETH,
    GIB,
    LO,
    TUNNEL,
    VIP4,
    VIP6,
    WELL,
    director,
    held,
    only,
    real_server,
)


def test_well_configured_machine_has_no_findings():
    assert director() == []
    assert real_server() == []


@pytest.mark.parametrize("loadable", [None, frozenset({"ip_vs"})])
def test_missing_module_is_named_with_its_command(loadable):
    modules = Modules(frozenset(), loadable)
    assert only(director(ipvs=False, modules=modules, vs={}, table=None)) == ("bad", "module", "modprobe ip_vs")


def test_kernel_without_the_module_has_no_command():
    (finding,) = director(ipvs=False, modules=Modules(frozenset(), frozenset({"dummy"})), vs={}, table=None)
    assert (finding.level, finding.command) == ("bad", "")
    assert "6.1.0 has no module ip_vs" in finding.text


@pytest.mark.parametrize(
    ("loadable", "text"), [(None, "there is no list of modules here"), (frozenset({"ip_vs"}), "missing in this kernel")]
)
def test_missing_schedulers_are_a_warning(loadable, text):
    findings = director(modules=Modules(frozenset({"ip_vs"}), loadable))
    assert only(findings) == ("warn", "schedulers", "modprobe -a ip_vs_mh ip_vs_rr")
    assert text in findings[0].text


@pytest.mark.parametrize(("root", "command"), [(False, "sudo clusterf doctor"), (True, "")])
def test_director_without_net_admin_is_bad(root, command):
    assert only(director(net_admin=False, root=root)) == ("bad", "capability", command)


def test_root_without_capabilities_for_other_users_is_a_warning_that_names_the_lines_to_add():
    (finding,) = director(unable=("CAP_CHOWN", "CAP_SETUID"))
    assert finding[:2] == ("warn", "privileges")
    assert finding.text.startswith("CAP_CHOWN, CAP_SETUID are missing: all processes of a node run as root; ")
    assert "CapabilityBoundingSet=CAP_CHOWN CAP_SETUID," in finding.text
    assert finding.text.endswith("cap_add: [CHOWN, SETUID]")
    assert director(root=False, unable=("CAP_CHOWN",)) == []


def test_users_without_names_are_fine_and_can_be_had():
    findings = check_director(WELL._replace(nameless=("clusterf", "clusterf-probe")), ["mh"], RECOMMENDED)
    (finding,) = [one for one in findings if one.check == "privileges"]
    assert finding.level == "ok"
    assert finding.text.endswith("there is no clusterf and no clusterf-probe to name them")
    assert [words.split()[0::5] for words in finding.command.split(" && ")] == [
        ["useradd", "clusterf"],
        ["useradd", "clusterf-probe"],
    ]


def test_ipvs_that_does_not_respond_is_bad():
    assert only(director(refused="no answer")) == ("bad", "netlink", "")


def test_differing_sysctl_is_a_warning_with_its_command():
    vs = {**WELL.vs, "sloppy_tcp": 0}
    assert only(director(vs=vs)) == ("warn", "sysctl", "sysctl -w net.ipv4.vs.sloppy_tcp=1")
    assert director({"sloppy_tcp": 0}, vs=vs) == []


def test_sysctl_missing_in_the_kernel_is_a_warning():
    assert only(director(vs={name: 1 for name in RECOMMENDED if name != "sloppy_tcp"})) == ("warn", "sysctl", "")


def test_connection_tracking_is_checked_only_if_ipvs_uses_it():
    full = (900, 1000)
    grow = ("warn", "conntrack", "sysctl -w net.netfilter.nf_conntrack_max=2000")
    assert director(tracked=full) == []
    assert director(tracked=None) == []
    assert only(director(tracked=full, vs={**WELL.vs, "conntrack": 1})) == grow
    wanted = {"conntrack": 1}
    assert only(director(wanted, tracked=None, vs=wanted)) == ("bad", "conntrack", "modprobe nf_conntrack")


def test_missing_forwarding_is_bad_with_masq_and_a_warning_without():
    off = {4: True, 6: False}
    command = "sysctl -w net.ipv6.conf.all.forwarding=1"
    assert only(director(forwarding=off)) == ("bad", "forwarding", command)
    assert only(director(forwarding=off, masq=frozenset({4}))) == ("warn", "forwarding", command)
    assert only(director(forwarding={4: False})) == ("bad", "forwarding", "sysctl -w net.ipv4.ip_forward=1")


def test_strict_rp_filter_is_reported_by_interface():
    strict = ETH._replace(name="eth0.5", conf=Conf(rp_filter=1))
    command = "sysctl -w net/ipv4/conf/eth0.5/rp_filter=2"
    assert only(director(interfaces=(LO, strict))) == ("warn", "rp_filter", command)
    assert director(interfaces=(LO, strict), all=Conf(rp_filter=2)) == []
    assert director(interfaces=(LO, strict._replace(up=False))) == []


def test_strict_rp_filter_on_a_tunnel_is_bad_for_a_real_server():
    strict = TUNNEL._replace(conf=Conf(rp_filter=1))
    command = "sysctl -w net/ipv4/conf/tunl0/rp_filter=2"
    assert only(real_server(interfaces=(LO, ETH, strict))) == ("bad", "rp_filter", command)
    assert only(director(interfaces=(LO, ETH, strict))) == ("warn", "rp_filter", command)


def test_strict_rp_filter_of_later_interfaces_is_a_warning():
    command = "sysctl -w net/ipv4/conf/default/rp_filter=2"
    assert only(director(default=Conf(rp_filter=1))) == ("warn", "rp_filter", command)


def test_interface_name_is_quoted_for_the_shell():
    name = "$(reboot);'x"
    (finding,) = director(interfaces=(ETH._replace(name=name, conf=Conf(rp_filter=1)),))
    assert shlex.split(finding.command) == ["sysctl", "-w", f"net/ipv4/conf/{name}/rp_filter=2"]


def test_too_few_buckets_are_a_warning():
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


def test_nearly_reached_connection_limit_is_a_warning():
    def found(connections, limit):
        return director(table=WELL.table._replace(connections=connections, limit=limit))

    assert found(80, 100) == []
    assert only(found(81, 100)) == ("warn", "table", "sysctl -w net.ipv4.vs.conn_max=200")
    assert found(50_000, 1 << 30) == []


def test_read_only_proc_is_a_warning():
    fix = ("warn", "proc", "mount -o remount,bind,rw /proc/sys")
    assert only(director(read_only=True)) == only(real_server(read_only=True)) == fix


def test_missing_vip_is_bad_for_either_role():
    assert only(director(vips=[VIP4])) == ("bad", "vip", "ip address add 10.1.1.1/32 dev lo")
    assert only(real_server(VIP6)) == ("bad", "vip", "ip address add fd00:1::1/128 dev lo")
    assert director(vips=[VIP4], interfaces=(held(ETH, "10.1.1.1/24"),)) == []


def test_vip_on_an_interface_with_arp_is_bad_for_a_real_server():
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
def test_real_server_that_answers_arp_for_vips_on_lo_is_bad(everywhere, own, settings):
    found = real_server(all=everywhere, interfaces=(LO, ETH._replace(conf=own)))
    assert only(found) == ("bad", "arp", f"sysctl -w {settings}")
    assert director(all=everywhere, interfaces=(LO, ETH._replace(conf=own))) == []


def test_arp_is_not_checked_for_ipv6_vips():
    assert real_server(VIP6, all=Conf(), interfaces=(held(LO, "fd00:1::1/128"), ETH)) == []
