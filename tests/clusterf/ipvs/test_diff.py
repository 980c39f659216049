from ipaddress import IPv4Address

import pytest
from hypothesis import given

from clusterf.ipvs.diff import diff
from clusterf.ipvs.table import (
    Method,
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
WLC = VirtualServerSettings("wlc", ServiceFlag(0), 0, 0xFFFFFFFF)
RR = VirtualServerSettings("rr", ServiceFlag(0), 0, 0xFFFFFFFF)
ONE, TWO = (RealServer(IPv4Address(a), 8080) for a in ("10.0.0.1", "10.0.0.2"))
TEN, ZERO, TUNNEL = (
    RealServerSettings(Method.MASQ, 10),
    RealServerSettings(Method.MASQ, 0),
    RealServerSettings(Method.TUNNEL, 10),
)
REMOVALS = {Op.REMOVE_REAL, Op.REMOVE_VIRTUAL}


def web(settings, reals):
    return table_of([(WEB, settings, reals)])


@pytest.mark.parametrize(
    ("desired", "actual", "steps"),
    [
        (Table(), Table(), []),
        (web(WLC, {ONE: TEN}), web(WLC, {ONE: TEN}), []),
        (
            web(WLC, {ONE: TEN}),
            Table(),
            [Step(Op.ADD_VIRTUAL, WEB, None, WLC), Step(Op.ADD_REAL, WEB, ONE, TEN)],
        ),
        (web(RR, {ONE: TEN}), web(WLC, {ONE: TEN}), [Step(Op.EDIT_VIRTUAL, WEB, None, RR)]),
        (web(WLC, {ONE: ZERO}), web(WLC, {ONE: TEN}), [Step(Op.EDIT_REAL, WEB, ONE, ZERO)]),
        (web(WLC, {ONE: TUNNEL}), web(WLC, {ONE: TEN}), [Step(Op.EDIT_REAL, WEB, ONE, TUNNEL)]),
        (
            web(WLC, {TWO: TEN}),
            web(WLC, {ONE: TEN}),
            [Step(Op.ADD_REAL, WEB, TWO, TEN), Step(Op.REMOVE_REAL, WEB, ONE)],
        ),
        (Table(), web(WLC, {ONE: TEN, TWO: TEN}), [Step(Op.REMOVE_VIRTUAL, WEB)]),
    ],
)
def test_steps_between_two_tables(desired, actual, steps):
    assert list(diff(desired, actual)) == steps


@given(tables, tables)
def test_applied_difference_gives_the_desired_table(desired, actual):
    table = actual.copy()
    for step in diff(desired, actual):
        table.apply(step)
    assert table == desired


@given(tables, tables)
def test_additions_come_before_removals(desired, actual):
    removals = [step.op in REMOVALS for step in diff(desired, actual)]
    assert removals == sorted(removals)


@given(tables, tables)
def test_each_key_changes_at_most_once(desired, actual):
    places = [(step.virtual, step.real) for step in diff(desired, actual)]
    assert len(places) == len(set(places))
    assert not list(diff(desired, desired.copy()))
