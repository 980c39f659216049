from ipaddress import IPv4Address, IPv6Address
from typing import get_args

import pytest
from hypothesis import given

from clusterf.ipvs.table import (
    METHODS,
    Method,
    MethodName,
    Op,
    RealServer,
    RealServerSettings,
    ServiceFlag,
    Step,
    Table,
    VirtualServer,
    VirtualServerSettings,
    table_of,
)
from clusterf.lib.addresses import Family, Protocol
from tests.clusterf.support.strategies import tables

WEB = VirtualServer(Family.IPV4, Protocol.TCP, IPv4Address("198.51.100.1"), 80)
SETTINGS = VirtualServerSettings("wlc", ServiceFlag(0), 0, 0xFFFFFFFF)
REAL = RealServer(IPv4Address("10.0.0.1"), 8080)
TEN = RealServerSettings(Method.MASQ, 10)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (WEB, "198.51.100.1:80/tcp"),
        (VirtualServer(Family.IPV6, Protocol.UDP, IPv6Address("fd00::1"), 53), "[fd00::1]:53/udp"),
        (VirtualServer(Family.IPV4, Protocol.SCTP, IPv4Address("198.51.100.1"), 9), "198.51.100.1:9/sctp"),
        (VirtualServer(Family.IPV4, fwmark=7), "fwmark 7/ipv4"),
        (VirtualServer(Family.IPV6, fwmark=7), "fwmark 7/ipv6"),
        (REAL, "10.0.0.1:8080"),
        (RealServer(IPv6Address("fd00::1"), 0), "[fd00::1]:0"),
    ],
)
def test_servers_have_a_form_for_logs(value, text):
    assert str(value) == text


@pytest.mark.parametrize(("address", "family"), [("10.0.0.1", Family.IPV4), ("::ffff:10.0.0.1", Family.IPV6)])
def test_address_has_a_family(address, family):
    assert Family.of(IPv4Address(address) if family is Family.IPV4 else IPv6Address(address)) is family


def test_virtual_server_is_removed_with_its_real_servers():
    table = table_of([(WEB, SETTINGS, {REAL: TEN})])
    table.apply(Step(Op.REMOVE_VIRTUAL, WEB))
    assert table == Table()
    table.put_virtual(WEB, SETTINGS)
    assert table == table_of([(WEB, SETTINGS, {})])


def test_edited_virtual_server_keeps_its_real_servers():
    table = table_of([(WEB, SETTINGS, {REAL: TEN})])
    edited = VirtualServerSettings("rr", ServiceFlag(0), 0, 0xFFFFFFFF)
    table.put_virtual(WEB, edited)
    assert table == table_of([(WEB, edited, {REAL: TEN})])


def test_real_server_needs_its_virtual_server():
    with pytest.raises(KeyError):
        Table().put_real(WEB, REAL, TEN)
    with pytest.raises(KeyError):
        Table().apply(Step(Op.REMOVE_REAL, WEB, REAL))


def test_removing_a_missing_server_does_nothing():
    table = table_of([(WEB, SETTINGS, {})])
    table.put_real(WEB, REAL, None)
    table.put_virtual(VirtualServer(Family.IPV4, fwmark=1), None)
    assert table == table_of([(WEB, SETTINGS, {})])


def test_table_equals_no_other_kind_of_value():
    assert Table() != {}
    assert len(table_of([(WEB, SETTINGS, {})])) == 1


@given(tables)
def test_copy_is_equal_and_shares_nothing(table):
    text, copy = repr(table), table.copy()
    assert copy == table
    for virtual in list(copy.virtuals):
        copy.reals[virtual].clear()
        copy.put_virtual(virtual, None)
    assert repr(table) == text


def test_methods_have_the_names_that_users_choose_from():
    assert tuple(METHODS) == get_args(MethodName)
    assert all(method.name.lower() == name for name, method in METHODS.items())
