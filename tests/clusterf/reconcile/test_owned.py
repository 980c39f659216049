import pytest

from clusterf.reconcile.drains import TIMEOUT, Drains
from clusterf.reconcile.owned import OwnedServers
from tests.clusterf.support.reconciling import DNS, MARK, WEB


@pytest.fixture
def owned():
    return OwnedServers([WEB], Drains({WEB: 90.0}))


def test_recorded_virtual_servers_are_ours_and_not_recorded_again(owned):
    assert set(owned) == {WEB}
    assert WEB in owned
    assert DNS not in owned
    assert owned.take_changes() == {}


def test_changes_are_returned_once_with_the_drain_timeouts(owned):
    for virtual in (WEB, DNS, MARK):
        owned.add(virtual)
    owned.discard(WEB)
    owned.discard(MARK)
    assert owned.take_changes() == {DNS: TIMEOUT, WEB: None, MARK: None}
    assert owned.take_changes() == {}
    assert set(owned) == {DNS}


def test_drain_timeout_that_changes_is_recorded_for_virtual_servers_that_are_ours(owned):
    owned.want(WEB, 90.0)
    owned.want(DNS, 5.0)
    assert owned.take_changes() == {}
    owned.want(WEB, 5.0)
    owned.add(DNS)
    assert owned.take_changes() == {WEB: 5.0, DNS: 5.0}


def test_departure_is_reported_once(owned):
    owned.unwant(WEB)
    assert not owned.is_leaving(WEB)
    assert owned.take_departed() == []
    for _ in range(2):
        owned.depart(WEB)
    assert owned.is_leaving(WEB)
    assert owned.take_departed() == [WEB]
    assert owned.take_departed() == []


def test_departure_of_a_virtual_server_that_is_desired_again_is_not_reported(owned):
    owned.unwant(WEB)
    owned.want(WEB, 90.0)
    owned.depart(WEB)
    assert owned.take_departed() == []


def test_only_virtual_servers_that_are_not_ours_depart_as_foreign(owned):
    owned.unwant(WEB)
    owned.unwant(DNS)
    owned.depart_foreign()
    assert owned.take_departed() == [DNS]
