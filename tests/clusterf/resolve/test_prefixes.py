from ipaddress import IPv4Network, ip_address

from clusterf.config.model import VipRule
from clusterf.lib.addresses import Family
from clusterf.resolve.prefixes import AddressRange, PrefixTable


class Names(PrefixTable[VipRule]):
    """The names at the longest prefix."""

    def at(self, address):
        return list(self._longest(ip_address(address)))

    def _decision(self, names):
        return list(names)


def rule(prefix):
    return VipRule(IPv4Network(prefix))


def test_names_with_the_longest_prefix_are_found():
    table = Names()
    table.put(b"b", rule("10.0.0.0/16"))
    table.put(b"a", rule("10.0.0.0/16"))
    table.put(b"c", rule("10.0.0.0/8"))
    assert table.at("10.0.1.1") == [b"a", b"b"]
    assert table.at("10.1.1.1") == [b"c"]
    assert table.at("11.1.1.1") == table.at("fd00::1") == []
    table.put(b"a", None)
    assert table.at("10.0.1.1") == [b"b"]


def test_change_names_the_addresses_it_is_about():
    table = Names()
    eight, sixteen = AddressRange(Family.IPV4, 10 << 24, (11 << 24) - 1), AddressRange(Family.IPV4, 10 << 24, 167837695)
    assert table.put(b"a", rule("10.0.0.0/8")) == [eight]
    assert table.put(b"a", rule("10.0.0.0/8")) == []
    assert table.put(b"a", rule("10.0.0.0/16")) == [eight, sixteen]
    assert table.put(b"a", None) == [sixteen]
    assert table.put(b"a", None) == []
