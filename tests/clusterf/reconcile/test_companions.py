import pytest

from clusterf.reconcile.companions import Companions
from tests.clusterf.support.reconciling import DNS, WEB


class FakeCompanion:
    """Notes what it is called for, and fails if it is told to."""

    def __init__(self, error=""):
        self.error = error
        self.calls = []

    def keep(self):
        self._call("keep")

    def follow(self, changes):
        self._call(dict(changes))

    def _call(self, call):
        self.calls.append(call)
        if self.error:
            raise OSError(self.error)


def test_all_companions_are_kept_although_one_fails(caplog):
    failing, other, follower = FakeCompanion("cannot be set"), FakeCompanion(), FakeCompanion()
    companions = Companions([failing, other], follower)
    companions.keep()
    assert [companion.calls for companion in (failing, other, follower)] == [["keep"]] * 3
    assert companions.failing
    assert caplog.messages == ["ipvs: cannot be set"]


def test_only_the_follower_is_told_of_virtual_servers():
    other, follower = FakeCompanion(), FakeCompanion()
    Companions([other], follower).follow({WEB: True, DNS: False})
    assert other.calls == []
    assert follower.calls == [{WEB: True, DNS: False}]


def test_no_follower_is_needed():
    companions = Companions()
    assert not companions.failing
    companions.follow({WEB: True})
    companions.keep()
    assert not companions.failing


def test_failure_ends_when_all_companions_succeed(caplog):
    follower = FakeCompanion("there is no interface eth0")
    companions = Companions(follower=follower)
    companions.follow({WEB: True})
    assert companions.failing
    companions.keep()
    assert companions.failing
    follower.error = ""
    companions.follow({})
    assert companions.failing, "until all is kept again"
    companions.keep()
    assert not companions.failing


def test_delay_of_retries_grows_until_all_companions_succeed():
    companion = FakeCompanion("down")
    companions = Companions([companion], longest=8.0)
    delays = []
    for _ in range(6):
        companions.keep()
        delays.append(companions.retry_delay())
    assert delays == pytest.approx([1, 2, 4, 8, 8, 8], rel=0.21)
    companion.error = ""
    companions.keep()
    assert companions.retry_delay() == pytest.approx(1, rel=0.21)


def test_failure_with_noop_is_logged_and_not_retried(caplog):
    companions = Companions([FakeCompanion("there is no interface eth0")], noop=True)
    companions.keep()
    assert not companions.failing
    assert caplog.messages == ["ipvs noop: there is no interface eth0"]
