import pytest

from clusterf.ipvs.table import ConnectionCount, Op, Step, Table, table_of
from clusterf.reconcile.drains import Drains
from clusterf.reconcile.removals import Removals
from tests.clusterf.support.reconciling import DNS, MARK, ONE, ONE_PACKET, TEN, THREE, TWO, WEB, WLC, ZERO

ACTIVE, INACTIVE = ConnectionCount(1, 0), ConnectionCount(0, 1)
DRAIN, REMOVE = Step(Op.EDIT_REAL, WEB, ONE, ZERO), Step(Op.REMOVE_REAL, WEB, ONE)


def removals(reals, counts, *, now=0.0, drains=None, desired=None, virtual=WEB, settings=WLC):
    """Return removals from a virtual server with these real servers and connections."""
    actual = table_of([(virtual, settings, reals)])
    return Removals(desired or Table(), actual, Drains() if drains is None else drains, lambda _: counts, now)


@pytest.mark.parametrize(
    ("settings", "count", "steps"),
    [
        (TEN, {}, [REMOVE]),
        (TEN, {ONE: ACTIVE}, [DRAIN]),
        (TEN, {ONE: INACTIVE}, [DRAIN]),
        (ZERO, {ONE: ACTIVE}, []),
        (ZERO, {ONE: INACTIVE}, [REMOVE]),
    ],
)
def test_real_server_is_drained_while_it_has_or_could_get_connections(settings, count, steps):
    assert removals({ONE: settings}, count).remove_real(WEB, ONE) == steps


def test_real_server_is_removed_when_its_drain_is_over():
    drains = Drains({WEB: 30.0})
    for now, steps in ((0.0, []), (29.9, []), (30.0, [REMOVE])):
        assert removals({ONE: ZERO}, {ONE: ACTIVE}, now=now, drains=drains).remove_real(WEB, ONE) == steps


def test_real_server_is_removed_at_once_without_a_drain_timeout():
    for count in (ACTIVE, INACTIVE):
        assert removals({ONE: TEN}, {ONE: count}, drains=Drains({WEB: 0.0})).remove_real(WEB, ONE) == [REMOVE]


@pytest.mark.parametrize(("virtual", "settings"), [(DNS, WLC), (DNS, ONE_PACKET), (MARK, ONE_PACKET)])
def test_connections_are_not_waited_for_where_there_are_none(virtual, settings):
    found = removals({ONE: TEN}, {ONE: ACTIVE}, virtual=virtual, settings=settings)
    assert found.remove_real(virtual, ONE) == [Step(Op.REMOVE_REAL, virtual, ONE)]


@pytest.mark.parametrize(
    ("counts", "steps"),
    [
        ({}, [Step(Op.REMOVE_VIRTUAL, WEB)]),
        ({ONE: ACTIVE}, [DRAIN, Step(Op.REMOVE_REAL, WEB, TWO)]),
        ({ONE: ACTIVE, TWO: ACTIVE}, [DRAIN]),
    ],
)
def test_virtual_server_is_removed_when_none_of_its_real_servers_has_to_drain(counts, steps):
    assert removals({ONE: TEN, TWO: ZERO}, counts).remove_virtual(WEB) == steps


def test_connections_are_counted_once_and_only_when_needed():
    counted = []

    def count(virtual):
        counted.append(virtual)
        return {}

    found = Removals(Table(), table_of([(WEB, WLC, {ONE: TEN, TWO: TEN})]), Drains(), count, 0.0)
    found.unreplaced(WEB)
    assert counted == []
    for real in (ONE, TWO):
        found.remove_real(WEB, real)
    assert counted == [WEB]


@pytest.mark.parametrize(
    ("desired", "unreplaced"),
    [({}, True), ({THREE: TEN}, True), ({TWO: TEN}, True), ({ONE: ZERO}, False), ({ONE: TEN, THREE: TEN}, False)],
)
def test_desired_real_server_that_is_there_with_weight_replaces_others(desired, unreplaced):
    found = removals({ONE: TEN, TWO: ZERO}, {}, desired=table_of([(WEB, WLC, desired)]))
    assert found.unreplaced(WEB) == unreplaced
