import errno
import logging

import pytest

from clusterf.ipvs.sync import SyncDaemon, SyncRole
from clusterf.reconcile.record import Record
from clusterf.reconcile.sync_daemons import DaemonBinding, SyncDaemonKeeper

MASTER = SyncDaemon(SyncRole.MASTER, "eth1", 7)
BACKUP = SyncDaemon(SyncRole.BACKUP, "eth1", 7)
START = "ipvs: ipvsadm --start-daemon master --mcast-interface eth1 --syncid 7"
STOP = "ipvs: ipvsadm --stop-daemon master"


class FakeDaemons:
    """Daemons in memory. A method fails with the errno that `fails` has for its name."""

    def __init__(self, *running):
        self.all = {daemon.role: daemon for daemon in running}
        self.bindings = {"eth1": DaemonBinding(2, "10.0.0.1"), "eth2": DaemonBinding(3, "10.0.1.1")}
        self.fails = {}

    def _fail(self, method):
        if method in self.fails:
            raise OSError(self.fails[method], "as the kernel says")

    def running(self):
        self._fail("running")
        return list(self.all.values())

    def binding(self, daemon):
        self._fail("binding")
        return self.bindings[daemon.interface]

    def start(self, daemon):
        self._fail("start")
        assert daemon.role not in self.all
        self.all[daemon.role] = daemon

    def stop(self, role):
        self._fail("stop")
        self.all.pop(role, None)


@pytest.fixture
def keep(store, caplog):
    """Have a new keeper keep twice, and return what it logs; the second time it must log nothing."""
    caplog.set_level(logging.INFO)

    def keep(daemons, wanted, role=SyncRole.MASTER, **options):
        keeper = SyncDaemonKeeper(role, wanted, Record(store, "sync"), daemons, **options)
        caplog.clear()
        keeper.keep()
        logged = list(caplog.messages)
        keeper.keep()
        assert caplog.messages == logged
        return logged

    return keep


def test_missing_daemon_is_started_once(keep):
    daemons = FakeDaemons(BACKUP)
    assert keep(daemons, MASTER) == [START]
    assert keep(daemons, MASTER) == []
    assert daemons.all == {SyncRole.MASTER: MASTER, SyncRole.BACKUP: BACKUP}


def test_daemon_stopped_from_outside_is_started_again(keep):
    daemons = FakeDaemons()
    keep(daemons, MASTER)
    daemons.all.clear()
    assert keep(daemons, MASTER) == [START]


@pytest.mark.parametrize("other", [MASTER._replace(syncid=8), MASTER._replace(interface="eth2")])
def test_daemon_of_ours_with_other_flags_is_replaced_without_a_warning(keep, other):
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
def test_daemon_started_from_outside_is_replaced_with_a_warning(keep, other):
    daemons = FakeDaemons(other, BACKUP)
    report, *commands = keep(daemons, MASTER)
    assert commands == [STOP, START]
    details = f"{other.interface} (syncid {other.syncid}, group {other.group}, port {other.port})"
    assert report == f"ipvs: sync daemon master: started outside clusterf on {details}, replacing it"
    assert daemons.all == {SyncRole.MASTER: MASTER, SyncRole.BACKUP: BACKUP}


def test_daemon_of_ours_is_stopped_when_none_is_wanted(keep):
    daemons = FakeDaemons(BACKUP)
    keep(daemons, MASTER)
    assert keep(daemons, None) == [STOP]
    assert daemons.all == {SyncRole.BACKUP: BACKUP}


def test_daemon_started_from_outside_is_left_alone_when_none_is_wanted(keep):
    daemons = FakeDaemons(MASTER)
    assert keep(daemons, None) == []
    assert daemons.all == {SyncRole.MASTER: MASTER}


def test_daemon_started_from_outside_in_place_of_ours_is_left_alone_when_none_is_wanted(keep):
    daemons = FakeDaemons()
    keep(daemons, MASTER)
    daemons.all = {SyncRole.MASTER: MASTER._replace(syncid=8)}
    assert keep(daemons, None) == []
    daemons.all = {SyncRole.MASTER: MASTER}
    assert keep(daemons, None) == []
    assert daemons.all == {SyncRole.MASTER: MASTER}


def test_daemon_started_from_outside_that_is_the_wanted_one_becomes_ours(keep):
    daemons = FakeDaemons(MASTER)
    assert keep(daemons, MASTER) == []
    assert keep(daemons, None) == [STOP]


def test_kernel_is_not_asked_when_no_daemon_is_wanted_or_recorded(keep):
    daemons = FakeDaemons()
    daemons.fails = {"running": errno.ENOENT}
    assert keep(daemons, None) == []


@pytest.mark.parametrize("binding", [DaemonBinding(9, "10.0.0.1"), DaemonBinding(2, "10.0.0.2")])
def test_daemon_is_restarted_when_its_interface_or_address_has_changed(keep, binding):
    daemons = FakeDaemons()
    keep(daemons, MASTER)
    daemons.bindings["eth1"] = binding
    report, *commands = keep(daemons, MASTER)
    reason = "its interface or address has changed since it was started"
    assert report == f"ipvs: sync daemon master: {reason}, replacing it"
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
def test_daemon_that_cannot_be_started_is_an_error_with_the_reason(keep, method, number, reason):
    daemons = FakeDaemons()
    daemons.fails = {method: number}
    for _ in range(2):
        with pytest.raises(OSError, match=f"failed: {START.removeprefix('ipvs: ')}: {reason}"):
            keep(daemons, MASTER)
    daemons.fails = {}
    assert keep(daemons, MASTER) == [START]


def test_running_daemon_is_not_stopped_for_a_missing_interface(keep):
    daemons = FakeDaemons()
    keep(daemons, MASTER._replace(syncid=8))
    daemons.fails = {"binding": errno.ENODEV}
    with pytest.raises(OSError, match="there is no such interface"):
        keep(daemons, MASTER)
    assert daemons.all == {SyncRole.MASTER: MASTER._replace(syncid=8)}


@pytest.mark.parametrize("wanted", [None, MASTER._replace(syncid=8)])
def test_daemon_that_cannot_be_stopped_is_an_error_and_stays_recorded(keep, wanted):
    daemons = FakeDaemons()
    keep(daemons, MASTER)
    daemons.fails = {"stop": errno.EPERM}
    with pytest.raises(OSError, match="failed: ipvsadm --stop-daemon master: as the kernel says"):
        keep(daemons, wanted)
    daemons.fails = {}
    assert keep(daemons, wanted)[0] == STOP


def test_unreadable_daemons_are_an_error(keep):
    daemons = FakeDaemons()
    daemons.fails = {"running": errno.ENOENT}
    with pytest.raises(OSError, match="the sync daemons cannot be read: as the kernel says"):
        keep(daemons, MASTER)


def test_noop_logs_once_what_it_would_do_and_does_nothing(keep):
    daemons = FakeDaemons(MASTER._replace(syncid=8))
    before = dict(daemons.all)
    report, *commands = keep(daemons, MASTER, noop=True)
    assert report.startswith("ipvs noop: sync daemon master: started outside clusterf")
    assert commands == [STOP.replace("ipvs:", "ipvs noop:"), START.replace("ipvs:", "ipvs noop:")]
    assert daemons.all == before


@pytest.mark.parametrize("noop", [False, True])
def test_only_the_reason_is_a_warning(keep, caplog, noop):
    keep(FakeDaemons(MASTER._replace(syncid=8)), MASTER, noop=noop)
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO", "INFO"]


def test_noop_needs_neither_ipvs_nor_the_interface(keep):
    daemons = FakeDaemons()
    daemons.fails = dict.fromkeys(["running", "binding", "start"], errno.ENOENT)
    assert keep(daemons, MASTER, noop=True) == [START.replace("ipvs:", "ipvs noop:")]


def test_noop_leaves_daemons_and_records_as_they_are(keep):
    daemons = FakeDaemons()
    keep(daemons, MASTER)
    assert keep(daemons, MASTER, noop=True) == []
    assert keep(daemons, None, noop=True) == [STOP.replace("ipvs:", "ipvs noop:")]
    assert keep(daemons, None) == [STOP]


def test_invalid_record_is_logged_once_and_the_running_daemon_is_left_alone(keep, store):
    record = Record(store, "sync")
    daemons = FakeDaemons(MASTER)
    for strange in (b"", b"{}", b"[1]", b'[[9,"eth1",7,"",1],[1,""]]', b"\xff"):
        record.update({b"master": strange})
        (report,) = keep(daemons, None)
        assert "invalid record of a sync daemon" in report
    assert daemons.all == {SyncRole.MASTER: MASTER}
