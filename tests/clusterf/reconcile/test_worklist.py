import pytest

from clusterf.ipvs.table import Table, TableKey, table_of
from clusterf.reconcile.drains import Drains
from clusterf.reconcile.owned import OwnedServers
from clusterf.reconcile.worklist import Worklist
from tests.clusterf.support.reconciling import DNS, MARK, ONE, TEN, THREE, TWO, WEB, WLC

DESIRED = table_of([(WEB, WLC, {ONE: TEN, TWO: TEN})])


@pytest.fixture
def drains():
    return Drains()


@pytest.fixture
def owned(drains):
    return OwnedServers([WEB, DNS], drains)


@pytest.fixture
def worklist(drains, owned):
    return Worklist(DESIRED, drains, owned)


def taken(take):
    """Return all keys that one queue gives."""
    return list(iter(take, None))


def test_desired_servers_are_additions_and_others_of_their_virtual_server_removals(worklist):
    for key in (TableKey(WEB, TWO), TableKey(WEB, THREE), TableKey(WEB), TableKey(WEB, ONE)):
        worklist.mark(key)
    assert taken(worklist.next_addition) == [TableKey(WEB, TWO), TableKey(WEB), TableKey(WEB, ONE)]
    assert taken(worklist.next_removal) == [TableKey(WEB, THREE)]
    assert not worklist


def test_key_that_is_marked_twice_is_taken_once(worklist):
    for _ in range(2):
        worklist.mark(TableKey(WEB, ONE))
    assert taken(worklist.next_addition) == [TableKey(WEB, ONE)]


def test_undesired_virtual_server_waits_for_permission_with_all_its_real_servers(worklist):
    for key in (TableKey(DNS, ONE), TableKey(DNS), TableKey(MARK)):
        worklist.mark(key)
    assert list(worklist.departures) == [DNS, MARK]
    assert not worklist
    worklist.allow([DNS])
    assert taken(worklist.next_removal) == [TableKey(DNS)]
    assert list(worklist.departures) == [MARK]


def test_virtual_server_that_has_begun_to_leave_needs_no_permission_again(worklist, drains, owned):
    owned.unwant(DNS)
    drains.has_time(DNS, ONE, 0.0)
    worklist.mark(TableKey(DNS))
    assert list(worklist.departures) == [DNS]
    owned.depart(DNS)
    worklist.mark(TableKey(DNS, ONE))
    assert taken(worklist.next_removal) == [TableKey(DNS)]


@pytest.mark.parametrize("allowed", [False, True])
def test_removal_of_a_virtual_server_that_is_kept_is_dropped(worklist, allowed):
    worklist.mark(TableKey(DNS))
    if allowed:
        worklist.allow([DNS])
    worklist.keep(DNS)
    assert not worklist
    assert not worklist.departures


def test_urgent_keys_are_taken_out_of_all_queues(worklist):
    worklist.mark(TableKey(WEB, ONE))
    worklist.remove(TableKey(WEB, THREE))
    worklist.hurry(TableKey(WEB, ONE), first=False)
    worklist.hurry(TableKey(WEB, THREE), first=False)
    worklist.hurry(TableKey(WEB, TWO), first=True)
    assert taken(worklist.next_urgent) == [TableKey(WEB, TWO), TableKey(WEB, ONE), TableKey(WEB, THREE)]
    assert not worklist


def test_only_urgent_keys_stay_when_the_table_was_compared_as_a_whole(worklist):
    for key in (TableKey(WEB), TableKey(WEB, THREE), TableKey(DNS)):
        worklist.mark(key)
    worklist.await_virtual(WEB)
    worklist.hurry(TableKey(WEB, ONE), first=False)
    worklist.clear()
    assert taken(worklist.next_urgent) == [TableKey(WEB, ONE)]
    assert not worklist
    assert not worklist.departures
    assert not worklist.stop_awaiting(WEB)


def test_real_servers_that_were_skipped_are_awaited_once(worklist):
    assert not worklist.stop_awaiting(WEB)
    worklist.await_virtual(WEB)
    assert worklist.stop_awaiting(WEB)
    assert not worklist.stop_awaiting(WEB)


def test_all_real_servers_of_a_virtual_server_are_marked_by_either_table(worklist):
    worklist.mark_all(WEB, table_of([(WEB, WLC, {TWO: TEN, THREE: TEN})]))
    assert taken(worklist.next_addition) == [TableKey(WEB), TableKey(WEB, ONE), TableKey(WEB, TWO)]
    assert taken(worklist.next_removal) == [TableKey(WEB, THREE)]
    worklist.mark_all(DNS, Table())
    assert list(worklist.departures) == [DNS]
