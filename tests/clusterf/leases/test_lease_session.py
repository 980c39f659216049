import threading

import pytest

from clusterf.etcd.errors import EtcdError
from clusterf.leases import lease_session
from clusterf.leases.holding import Holding
from clusterf.leases.lease_file import LeaseFile
from clusterf.leases.lease_record import LeaseRecord
from clusterf.leases.lease_session import LeaseSession
from tests.clusterf.support.fake_leases import FakeClient, FakeEtcd
from tests.waiting import wait_until


@pytest.fixture
def etcd():
    FakeClient.etcd = FakeEtcd()
    return FakeClient.etcd


@pytest.fixture
def begin(etcd):
    """Begin a session that holds a lease, 0: none; return it and its holding."""
    sessions = []

    def begin(lease=0, **wanted):
        holding = Holding(600, LeaseRecord(LeaseFile(None, 600, b"/")), lambda _: None)
        holding.take_over(lease)
        holding.keys.want_only({name.encode(): value for name, value in wanted.items()})
        session = LeaseSession(FakeClient(None, "a:1", 1), holding, threading.Event())
        sessions.append(session)
        session.work()
        return session, holding

    yield begin
    for session in sessions:
        session.close()


def worked(session, condition):
    """Have the session work until the condition is met."""

    def work():
        session.work()
        return condition()

    wait_until(work)


def test_machine_that_was_cloned_takes_a_lease_of_its_own_and_no_key_is_ever_absent(etcd, begin, caplog):
    one, mine = begin(a=b"1")
    other, theirs = begin(lease=1, b=b"1")  # which deletes nothing for a second
    worked(one, lambda: mine.lease == 2)
    assert etcd.leases == {0: {}, 1: {b"b": b"1"}, 2: {b"a": b"1"}}
    worked(other, lambda: not theirs.keys.doubtful)
    assert theirs.lease == 1
    assert "lease 1 is used by another node, too, which published " in caplog.text
    assert "lease 1, taken over, is that of a node that lives: it has moved its keys (a)" in caplog.text


def test_what_was_found_is_deleted_when_nobody_has_moved_it_in_time_and_logged(etcd, begin, caplog, monkeypatch):
    caplog.set_level("INFO")
    monkeypatch.setattr(lease_session, "PROBATION", 0.05)
    etcd.leases[9] = {b"old": b'{"publisher": "docker1"}', b"older": b"[]", b"kept": b"1"}
    session, _ = begin(lease=9, kept=b"1")
    assert etcd.touched == [b"old"]
    assert len(etcd.leases[9]) == 3
    worked(session, lambda: etcd.leases[9] == {b"kept": b"1"})
    what = "etcd a:1: deleting %s, not published by this process, but on its lease 9; publisher: %s"
    assert caplog.messages[-2:] == [what % ("old", "docker1"), what % ("older", "unknown")]


def test_what_this_process_has_published_goes_at_once(etcd, begin):
    session, holding = begin(a=b"1", b=b"1")
    holding.keys.want(b"a", None)
    session.work()
    assert etcd.keys == {b"b": b"1"}
    assert etcd.touched == []


def test_key_on_our_lease_that_a_read_shows_and_nobody_here_wrote_is_of_another_node(etcd, begin):
    session, _ = begin(a=b"1")
    etcd.leases[1][b"b"] = b"1"
    session.next_check = 0.0
    session.work()
    assert etcd.leases == {0: {}, 1: {b"b": b"1"}, 2: {b"a": b"1"}}


def test_lease_that_others_end_again_and_again_is_replaced_ever_later(etcd, begin):
    session, holding = begin(a=b"1")
    for lease in (1, 2, 3):
        etcd.end(lease)
        worked(session, lambda lease=lease: holding.lease == lease + 1)
        assert etcd.keys == {b"a": b"1"}
    etcd.end(4)
    wait_until(lambda: session._watch._came)
    session.work()
    assert etcd.keys == {}
    assert 0 < session.wait < 1
    worked(session, lambda: etcd.keys)


def test_what_happened_to_a_key_before_it_was_written_last_says_nothing(etcd, begin, caplog):
    session, holding = begin(a=b"1")
    etcd.put(b"a", None)
    holding.keys.want(b"a", b"2")
    wait_until(lambda: session._watch._came)
    while session._write():  # before it looks at what has come
        pass
    session.work()
    assert etcd.leases == {0: {}, 1: {b"a": b"2"}}
    assert "someone else" not in caplog.text


def test_keys_that_went_are_forgotten_at_last(etcd, begin, monkeypatch):
    monkeypatch.setattr(lease_session, "MANY", 10)
    session, holding = begin(a=b"1")
    for number in range(100):
        with holding.lock:
            holding.keys.want_only({b"%d" % number: b""})
        session.work()
    etcd.put(b"somebody's", b"1")
    worked(session, lambda: not session._watch._came)
    etcd.put(b"somebody's", b"2")
    worked(session, lambda: len(session._revisions) < 20)
    assert holding.lease == 1


def test_watch_that_ends_is_begun_anew_and_the_keys_are_read(etcd, begin):
    session, _ = begin(a=b"1")
    etcd.watches[0].cancel()
    wait_until(lambda: session._watch is None or session._watch._came)
    etcd.leases[1].clear()
    worked(session, lambda: etcd.keys == {b"a": b"1"})
    etcd.put(b"a", None)
    worked(session, lambda: etcd.keys == {b"a": b"1"})


def test_changes_of_an_etcd_that_was_restored_count_although_its_revisions_are_lower(etcd, begin, caplog):
    for number in range(10):
        etcd.put(b"others", b"%d" % number)
    session, _ = begin(a=b"1")
    etcd.revision = 3  # restored from a backup, with our key
    etcd.watches[0].cancel()
    worked(session, lambda: len(etcd.watches) > 1 and not session._watch._came)
    etcd.put(b"a", None)
    worked(session, lambda: etcd.keys.get(b"a") == b"1")
    assert "keys of ours were deleted or overwritten by someone else" in caplog.text


def test_errors_of_etcd_are_the_callers(etcd, begin):
    session, holding = begin(a=b"1")
    holding.keys.want(b"a", b"2")
    session._client.claim = lambda *_: (_ for _ in ()).throw(EtcdError("no leader"))
    with pytest.raises(EtcdError, match="no leader"):
        session.work()
