import errno

import msgspec
import pytest

from clusterf.vip.announcements import Announcements
from tests.clusterf.support.fake_interfaces import ETH, LO
from tests.clusterf.support.vip_keeping import A, B

DOWN = msgspec.structs.replace(ETH, running=False)


class Neighbours:
    """Records what is announced; with `error` nothing can be."""

    def __init__(self):
        self.announced = []
        self.error = None

    def __call__(self, interface, addresses):
        if self.error is not None:
            raise self.error
        self.announced.append((interface.name, addresses))


@pytest.fixture
def neighbours():
    return Neighbours()


@pytest.fixture
def announcements(neighbours):
    return Announcements(neighbours, "ipvs")


def has_all(interface, address):
    return True


def test_due_addresses_are_announced_once(announcements, neighbours):
    announcements.add([A, B])
    announcements.send(ETH, has_all)
    announcements.send(ETH, has_all)
    assert neighbours.announced == [("eth0", [A, B])]


def test_discarded_address_is_not_announced(announcements, neighbours):
    announcements.add([A, B])
    announcements.discard(A)
    announcements.send(ETH, has_all)
    assert neighbours.announced == [("eth0", [B])]


def test_address_that_the_interface_does_not_have_is_dropped(announcements, neighbours):
    announcements.add([A, B])
    announcements.send(ETH, lambda interface, address: address == B)
    announcements.send(ETH, has_all)
    assert neighbours.announced == [("eth0", [B])]


@pytest.mark.parametrize("interface", [None, DOWN])
def test_addresses_wait_for_the_interface(announcements, neighbours, interface):
    announcements.add([A])
    announcements.send(interface, has_all)
    assert neighbours.announced == []
    announcements.send(ETH, has_all)
    assert neighbours.announced == [("eth0", [A])]


def test_interface_without_neighbours_gets_no_announcement(announcements, neighbours):
    announcements.add([A])
    announcements.send(LO, has_all)
    announcements.send(ETH, has_all)
    assert neighbours.announced == []


def test_failed_announcement_is_logged_and_sent_after_retry(announcements, neighbours, caplog):
    announcements.add([A])
    neighbours.error = PermissionError(errno.EPERM, "Operation not permitted")
    announcements.send(ETH, has_all)
    assert caplog.messages == ["ipvs: 1 addresses on eth0 not announced: [Errno 1] Operation not permitted"]
    neighbours.error = None
    announcements.send(ETH, has_all)
    assert neighbours.announced == []
    announcements.retry()
    announcements.send(ETH, has_all)
    assert neighbours.announced == [("eth0", [A])]


def test_without_announcing_nothing_is_sent_or_logged(caplog):
    announcements = Announcements(None, "ipvs noop")
    announcements.add([A])
    announcements.send(ETH, has_all)
    assert caplog.messages == []
