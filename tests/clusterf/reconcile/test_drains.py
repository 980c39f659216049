from ipaddress import IPv4Address

import pytest

from clusterf.ipvs.table import RealServer, VirtualServer
from clusterf.lib.addresses import Family, Protocol
from clusterf.reconcile.drains import TIMEOUT, Drains

WEB = VirtualServer(Family.IPV4, Protocol.TCP, IPv4Address("198.51.100.1"), 80)
ONE, TWO = (RealServer(IPv4Address("10.0.0.0") + n, 8080) for n in (1, 2))


def begun(timeout=None, now=100.0):
    """Return drains in which a real server has begun to leave."""
    drains = Drains()
    if timeout is not None:
        drains.set_timeout(WEB, timeout)
    drains.has_time(WEB, ONE, now)
    return drains


@pytest.mark.parametrize("timeout", [None, 5.0, 86400.0])
def test_drain_begins_with_the_first_call(timeout):
    drains = begun(timeout)
    assert drains.timeout(WEB) == (timeout or TIMEOUT)
    assert drains.has_time(WEB, ONE, 100.0 + drains.timeout(WEB) - 0.1)
    assert not drains.has_time(WEB, ONE, 100.0 + drains.timeout(WEB))


def test_real_servers_drain_for_half_a_minute_unless_it_is_set():
    assert Drains().timeout(WEB) == 30.0


def test_real_server_that_drains_is_one_of_its_virtual_server():
    drains = begun(0.5)
    assert drains
    assert WEB in drains
    assert drains.has_time(WEB, ONE, 100.4)


def test_nothing_drains_without_a_timeout():
    drains = begun(0.0)
    assert not drains.has_time(WEB, ONE, 100.0)
    assert not drains
    assert WEB not in drains


def test_each_real_server_drains_for_a_time_of_its_own():
    drains = begun(5.0)
    assert drains.has_time(WEB, TWO, 104.0)
    assert not drains.has_time(WEB, ONE, 105.0)
    assert drains.has_time(WEB, TWO, 108.9)
    assert list(drains) == [(WEB, ONE), (WEB, TWO)]


@pytest.mark.parametrize(("later", "left"), [(3.0, False), (10.0, True)])
def test_new_timeout_counts_from_the_begin_of_the_drain(later, left):
    drains = begun(5.0)
    drains.set_timeout(WEB, later)
    assert drains.has_time(WEB, ONE, 104.0) == left


def test_drain_that_was_ended_begins_anew():
    drains = begun(5.0)
    drains.forget(WEB, ONE)
    assert not drains
    assert drains.has_time(WEB, ONE, 200.0)


def test_drains_end_with_their_virtual_server():
    drains = begun(5.0)
    drains.has_time(WEB, TWO, 100.0)
    drains.forget_all(WEB)
    assert not drains
    assert drains.timeout(WEB) == TIMEOUT
