from ipaddress import ip_address, ip_interface

import msgspec

from clusterf.doctor import facts as facts_module
from clusterf.doctor.facts import RealServers, gather, parse_modules, parse_real_servers
from clusterf.host.interfaces import PresentAddress
from tests.clusterf.support.fake_interfaces import ETH


def test_proc_net_ip_vs_is_parsed():
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


def test_module_names_are_parsed_from_files():
    lines = ["kernel/net/netfilter/ipvs/ip_vs.ko.xz: kernel/lib/libcrc32c.ko.xz", "kernel/net/ipv4/nf-x.ko"]
    assert parse_modules(lines) == {"ip_vs", "nf_x"}


def test_facts_of_this_machine_are_read():
    facts = gather()
    assert "lo" in {interface.name for interface in facts.interfaces}
    assert facts.memory > 0


def test_interface_name_may_be_any_bytes(monkeypatch):
    interfaces = [msgspec.structs.replace(ETH, index=n, name=name) for n, name in ((1, "\udcff"), (2, "\u00e9"))]
    addresses = [PresentAddress(1, ip_address("10.1.1.1"), 24)]
    monkeypatch.setattr(facts_module.RtnetlinkInterfaces, "read_all", lambda self: (interfaces, addresses))
    assert [(one.name, one.addresses) for one in gather().interfaces] == [
        (r"\xff", (ip_interface("10.1.1.1/24"),)),
        ("\u00e9", ()),
    ]
