import pytest

from clusterf.ipvs.table import Table, TableKey, table_of
from clusterf.reconcile.worklist import Worklist
from tests.clusterf.support.reconciling import DNS, MARK, ONE, TEN, THREE, TWO, WEB, WLC

DESIRED = table_of([(WEB, WLC, {ONE: TEN, TWO: TEN})])


@pytest.fixture
def worklist():
    return Worklist(DESIRED)


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
    assert taken(worklist.next_removal) == [TableKey(DNS)]


def test_undesired_virtual_server_is_a_removal_with_all_its_real_servers(worklist):
    for key in (TableKey(DNS, ONE), TableKey(DNS), TableKey(MARK)):
        worklist.mark(key)
    assert taken(worklist.next_removal) == [TableKey(DNS), TableKey(MARK)]
