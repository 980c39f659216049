from ipaddress import IPv4Address

import pytest

from clusterf.director.groups import BackendGroups
from clusterf.ipvs.table import RealServer, VirtualServer
from clusterf.lib.addresses import Family

VIRTUAL = VirtualServer(Family.IPV4, fwmark=1)
REAL, OTHER = (RealServer(IPv4Address("10.0.0.0") + number, 80) for number in (1, 2))


@pytest.fixture
def groups():
    return BackendGroups()


def test_first_backend_of_a_service_is_recognised(groups):
    assert groups.add(VIRTUAL, b"web", REAL, b"1")
    assert not groups.add(VIRTUAL, b"web", REAL, b"2")
    assert not groups.add(VIRTUAL, b"web", OTHER, b"3")
    assert groups.add(VIRTUAL, b"api", REAL, b"1")


def test_last_backend_of_a_service_is_recognised(groups):
    for real, name in ((REAL, b"1"), (REAL, b"2"), (OTHER, b"3")):
        groups.add(VIRTUAL, b"web", real, name)
    assert not groups.remove(VIRTUAL, b"web", REAL, b"1")
    assert not groups.remove(VIRTUAL, b"web", OTHER, b"3")
    assert groups.has_any(VIRTUAL, b"web")
    assert groups.remove(VIRTUAL, b"web", REAL, b"2")
    assert not groups.has_any(VIRTUAL, b"web")


def test_backends_that_meet_at_a_real_server_are_sorted_by_name(groups):
    for name in (b"c", b"a", b"b"):
        groups.add(VIRTUAL, b"web", REAL, name)
    groups.add(VIRTUAL, b"web", OTHER, b"d")
    assert groups.at(VIRTUAL, b"web", REAL) == [b"a", b"b", b"c"]
    assert groups.at(VIRTUAL, b"web", OTHER) == [b"d"]
    assert set(groups.reals(VIRTUAL, b"web")) == {REAL, OTHER}


def test_real_server_without_backends_is_not_known(groups):
    assert groups.at(VIRTUAL, b"web", REAL) == []
    groups.add(VIRTUAL, b"web", REAL, b"1")
    groups.add(VIRTUAL, b"web", OTHER, b"2")
    groups.remove(VIRTUAL, b"web", REAL, b"1")
    assert list(groups.reals(VIRTUAL, b"web")) == [OTHER]
    assert groups.at(VIRTUAL, b"web", REAL) == []
