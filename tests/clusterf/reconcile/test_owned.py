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
    owned.set_drain_timeout(WEB, 90.0)
    owned.set_drain_timeout(DNS, 5.0)
    assert owned.take_changes() == {}
    owned.set_drain_timeout(WEB, 5.0)
    owned.add(DNS)
    assert owned.take_changes() == {WEB: 5.0, DNS: 5.0}
