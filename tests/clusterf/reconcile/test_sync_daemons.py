"""What the keeper does with a kernel that is a dictionary."""

import errno
import logging

import pytest

from clusterf.ipvs.sync import SyncDaemon, SyncRole
from clusterf.lib.store import Store
from clusterf.reconcile.record import Record
from clusterf.reconcile.sync_daemons import DaemonBinding, SyncDaemonKeeper

MASTER = SyncDaemon(SyncRole.MASTER, "eth1", 7)
BACKUP = SyncDaemon(SyncRole.BACKUP, "eth1", 7)
START = "ipvs: ipvsadm --start-daemon master --mcast-interface eth1 --syncid 7"
STOP = "ipvs: ipvsadm --stop-daemon master"


class FakeDaemons:
    """Daemons in memory. An errno in `fails` is what a method of that name meets."""

    def __init__(self, *running):
        self.all = {daemon.role: daemon for daemon in running}
        self.bindings = {"eth1": DaemonBinding(2, "10.0.0.1"), "eth2": DaemonBinding(3, "10.0.1.1")}
        self.fails = {}

    def _meet(self, method):
        if method in self.fails:
            raise OSError(self.fails[method], "as the kernel says")

    def running(self):
        self._meet("running")
        return list(self.all.values())

    def binding(self, daemon):
        self._meet("binding")
        return self.bindings[daemon.interface]

    def start(self, daemon):
        self._meet("start")
        assert daemon.role not in self.all
        self.all[daemon.role] = daemon

    def stop(self, role):
        self._meet("stop")
        self.all.pop(role, None)


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "ipvs.db")


@pytest.fixture
def keep(store, caplog):
    """Have a new keeper keep twice, and return what it logs, which must all be said the first time."""
    caplog.set_level(logging.INFO)

    def keep(daemons, wanted, role=SyncRole.MASTER, **options):
        keeper = SyncDaemonKeeper(role, wanted, Record(store, "sync"), daemons, **options)
        caplog.clear()
        keeper.keep()
        said = list(caplog.messages)
        keeper.keep()
        assert caplog.messages == said
        return said

    return keep


def test_what_is_missing_is_started_and_then_left_as_it_is(keep):
    daemons = FakeDaemons(BACKUP)
    assert keep(daemons, MASTER) == [START]
    assert keep(daemons, MASTER) == []
    assert daemons.all == {SyncRole.MASTER: MASTER, SyncRole.BACKUP: BACKUP}


def test_what_others_stop_is_started_again(keep):
    daemons = FakeDaemons()
    keep(daemons, MASTER)
    daemons.all.clear()
    assert keep(daemons, MASTER) == [START]


@pytest.mark.parametrize("other", [MASTER._replace(syncid=8), MASTER._replace(interface="eth2")])
def test_another_one_of_ours_is_replaced_without_a_word_about_others(keep, other):
    daemons = FakeDaemons()
    keep(daemons, other)
    assert keep(daemons, MASTER) == [STOP, START]
    assert daemons.all == {SyncRole.MASTER: MASTER}


@pytest.mark.parametrize(
    "other",
    [
        MASTER._replace(syncid=8),
        MASTER._replace(interface="eth2"),
        MASTER._replace(group="ff02::81"),
        MASTER._replace(port=9),
    ],
)
def test_another_one_of_others_is_replaced_and_that_is_reported(keep, other):
    daemons = FakeDaemons(other, BACKUP)
    report, *commands = keep(daemons, MASTER)
    assert commands == [STOP, START]
    assert "started outside clusterf on" in report
    assert f"{other.interface} (syncid {other.syncid}, group {other.group}, port {other.port}), replacing it" in report
    assert daemons.all == {SyncRole.MASTER: MASTER, SyncRole.BACKUP: BACKUP}


def test_ours_is_stopped_when_it_is_wanted_no_more(keep):
    daemons = FakeDaemons(BACKUP)
    keep(daemons, MASTER)
    assert keep(daemons, None) == [STOP]
    assert daemons.all == {SyncRole.BACKUP: BACKUP}


def test_one_of_others_is_left_alone_when_none_is_wanted(keep):
    daemons = FakeDaemons(MASTER)
    assert keep(daemons, None) == []
    assert daemons.all == {SyncRole.MASTER: MASTER}


def test_one_of_others_in_the_place_of_ours_is_left_alone_when_none_is_wanted(keep):
    daemons = FakeDaemons()
    keep(daemons, MASTER)
    daemons.all = {SyncRole.MASTER: MASTER._replace(syncid=8)}
    assert keep(daemons, None) == []
    daemons.all = {SyncRole.MASTER: MASTER}
    assert keep(daemons, None) == []
    assert daemons.all == {SyncRole.MASTER: MASTER}


def test_one_of_others_that_is_the_wanted_one_is_ours_from_then_on(keep):
    daemons = FakeDaemons(MASTER)
    assert keep(daemons, MASTER) == []
    assert keep(daemons, None) == [STOP]


def test_when_none_is_wanted_and_none_on_record_the_kernel_is_not_even_asked(keep):
    daemons = FakeDaemons()
    daemons.fails = {"running": errno.ENOENT}
    assert keep(daemons, None) == []


@pytest.mark.parametrize("binding", [DaemonBinding(9, "10.0.0.1"), DaemonBinding(2, "10.0.0.2")])
def test_a_daemon_whose_interface_or_address_is_another_one_now_is_started_anew(keep, binding):
    daemons = FakeDaemons()
    keep(daemons, MASTER)
    daemons.bindings["eth1"] = binding
    report, *commands = keep(daemons, MASTER)
    assert "its interface or address has changed since it was started" in report
    assert commands == [STOP, START]


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (errno.ENODEV, "there is no such interface"),
        (errno.EADDRNOTAVAIL, "the interface has no IPv4 address"),
        (errno.ENETUNREACH, "the interface is down"),
        (errno.EEXIST, "one was just started outside clusterf"),
        (errno.EINVAL, "there are real servers of another family"),
        (errno.EPERM, "as the kernel says"),
    ],
)
@pytest.mark.parametrize("method", ["binding", "start"])
def test_what_cannot_be_started_is_an_error_with_the_reason_until_it_can(keep, method, number, reason):
    daemons = FakeDaemons()
    daemons.fails = {method: number}
    for _ in range(2):
        with pytest.raises(OSError, match=f"failed: {START.removeprefix('ipvs: ')}: {reason}"):
            keep(daemons, MASTER)
    daemons.fails = {}
    assert keep(daemons, MASTER) == [START]


def test_an_interface_that_is_not_there_is_no_reason_to_stop_what_runs(keep):
    daemons = FakeDaemons()
    keep(daemons, MASTER._replace(syncid=8))
    daemons.fails = {"binding": errno.ENODEV}
    with pytest.raises(OSError, match="there is no such interface"):
        keep(daemons, MASTER)
    assert daemons.all == {SyncRole.MASTER: MASTER._replace(syncid=8)}


@pytest.mark.parametrize("wanted", [None, MASTER._replace(syncid=8)])
def test_what_cannot_be_stopped_is_an_error_and_stays_on_record(keep, wanted):
    daemons = FakeDaemons()
    keep(daemons, MASTER)
    daemons.fails = {"stop": errno.EPERM}
    with pytest.raises(OSError, match="failed: ipvsadm --stop-daemon master: as the kernel says"):
        keep(daemons, wanted)
    daemons.fails = {}
    assert keep(daemons, wanted)[0] == STOP


def test_a_kernel_that_cannot_be_asked_is_an_error(keep):
    daemons = FakeDaemons()
    daemons.fails = {"running": errno.ENOENT}
    with pytest.raises(OSError, match="the sync daemons cannot be read: as the kernel says"):
        keep(daemons, MASTER)


def test_with_noop_what_would_be_done_is_said_once_and_nothing_is_done(keep):
    daemons = FakeDaemons(MASTER._replace(syncid=8))
    before = dict(daemons.all)
    report, *commands = keep(daemons, MASTER, noop=True)
    assert report.startswith("ipvs noop: sync daemon master: started outside clusterf")
    assert commands == [STOP.replace("ipvs:", "ipvs noop:"), START.replace("ipvs:", "ipvs noop:")]
    assert daemons.all == before


def test_with_noop_neither_the_kernel_nor_the_interface_has_to_be_there(keep):
    daemons = FakeDaemons()
    daemons.fails = dict.fromkeys(["running", "binding", "start"], errno.ENOENT)
    assert keep(daemons, MASTER, noop=True) == [START.replace("ipvs:", "ipvs noop:")]


def test_with_noop_what_runs_well_is_left_and_what_is_ours_stays_ours(keep):
    daemons = FakeDaemons()
    keep(daemons, MASTER)
    assert keep(daemons, MASTER, noop=True) == []
    assert keep(daemons, None, noop=True) == [STOP.replace("ipvs:", "ipvs noop:")]
    assert keep(daemons, None) == [STOP]


def test_a_record_that_is_not_understood_is_reported_once_and_what_runs_is_left_alone(keep, store):
    record = Record(store, "sync")
    daemons = FakeDaemons(MASTER)
    for strange in (b"", b"{}", b"[1]", b'[[9,"eth1",7,"",1],[1,""]]', b"\xff"):
        record.update({b"master": strange})
        (report,) = keep(daemons, None)
        assert "invalid record of a sync daemon" in report
    assert daemons.all == {SyncRole.MASTER: MASTER}
