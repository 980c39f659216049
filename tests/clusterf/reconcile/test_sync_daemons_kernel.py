"""The sync daemons of a kernel, over a channel that answers as it would."""

import errno

import pytest

from clusterf.ipvs.netlink.daemons import DaemonCommand, encode_daemon, encode_role
from clusterf.ipvs.sync import SyncDaemon, SyncRole
from clusterf.lib.store import Store
from clusterf.reconcile import sync_daemons
from clusterf.reconcile.record import Record
from clusterf.reconcile.sync_daemons import sync_keepers

FAMILY = 30
MASTER, BACKUP = (SyncDaemon(role, "eth1", 7) for role in SyncRole)
ADDRESS = "10.0.0.1"


class Kernel:
    """What channels reach; `errors` has an errno for each command that is refused."""

    def __init__(self):
        self.running = []
        self.errors = {}
        self.changes = []
        self.open = 0
        self.interfaces = {"eth1": 2}
        self.addresses = {"eth1": ADDRESS}

    def index(self, name):
        if name not in self.interfaces:
            raise OSError("no interface with this name")
        return self.interfaces[name]

    def channel(self, family, deadline):
        assert family == FAMILY
        assert deadline > 0
        self.open += 1
        return Channel(self)


class Channel:
    def __init__(self, kernel):
        self.kernel = kernel

    def dump(self, command, payload, decode):
        assert (command, payload) == (DaemonCommand.GET, b"")
        self._refuse(command)
        return [decode(encode_daemon(daemon)) for daemon in self.kernel.running]

    def ask(self, command, payload, decode):
        self._refuse(command)
        self.kernel.changes.append((command, payload))
        return []

    def close(self):
        self.kernel.open -= 1

    def _refuse(self, command):
        if number := self.kernel.errors.get(command):
            raise OSError(number, "as the kernel says")


@pytest.fixture
def kernel(monkeypatch):
    def family(deadline):
        assert deadline > 0
        return FAMILY

    kernel = Kernel()
    monkeypatch.setattr(sync_daemons, "find_family", family)
    monkeypatch.setattr(sync_daemons, "Channel", kernel.channel)
    monkeypatch.setattr(sync_daemons.socket, "if_nametoindex", kernel.index)
    monkeypatch.setattr(sync_daemons, "first_ipv4_address", lambda name: kernel.addresses[name])
    yield kernel
    assert not kernel.open, "a channel is left open"


@pytest.fixture
def keep(kernel, tmp_path):
    def keep(*wanted, noop=False):
        """Do what a node that wants these does, and return what it asked the kernel to change."""
        kernel.changes = []
        for keeper in sync_keepers(wanted, Store(tmp_path / "ipvs.db"), noop=noop):
            keeper.keep()
        return kernel.changes

    return keep


def start(daemon):
    return DaemonCommand.NEW, encode_daemon(daemon)


def stop(role):
    return DaemonCommand.DEL, encode_role(role)


def test_each_role_is_started_and_stopped_by_itself(keep, kernel):
    assert keep(MASTER, BACKUP) == [start(MASTER), start(BACKUP)]
    kernel.running = [MASTER, BACKUP]
    assert keep(BACKUP) == [stop(SyncRole.MASTER)]
    kernel.running = [BACKUP]
    assert keep(BACKUP) == []
    assert keep(noop=True) == []
    assert keep() == [stop(SyncRole.BACKUP)]


@pytest.mark.parametrize("changed", ["interfaces", "addresses"])
def test_new_index_concerns_both_roles_and_a_new_address_only_the_master(keep, kernel, changed):
    keep(MASTER, BACKUP)
    kernel.running = [MASTER, BACKUP]
    setattr(kernel, changed, {"eth1": {"interfaces": 3, "addresses": "10.0.0.2"}[changed]})
    roles = {"interfaces": [MASTER, BACKUP], "addresses": [MASTER]}[changed]
    assert keep(MASTER, BACKUP) == [change for daemon in roles for change in (stop(daemon.role), start(daemon))]


@pytest.mark.parametrize(
    ("wanted", "changes"), [([MASTER, BACKUP], []), ([], [(DaemonCommand.DEL, encode_role(role)) for role in SyncRole])]
)
def test_daemons_that_an_earlier_version_recorded_are_ours(keep, kernel, tmp_path, wanted, changes):
    record = Record(Store(tmp_path / "ipvs.db"), "sync")
    record.update({b"master": b'[[1,"eth1",7,"224.0.0.81",8848],[2,"10.0.0.1"]]'})
    record.update({b"backup": b'[[2,"eth1",7,"224.0.0.81",8848],[2,""]]'})
    kernel.running = [MASTER, BACKUP]
    assert keep(*wanted) == changes


def test_daemon_that_has_just_ended_counts_as_stopped(keep, kernel):
    keep(MASTER)
    kernel.running = [MASTER]
    kernel.errors = {DaemonCommand.DEL: errno.ESRCH}
    assert keep() == []


def test_refused_stop_is_an_error(keep, kernel):
    keep(MASTER)
    kernel.running = [MASTER]
    kernel.errors = {DaemonCommand.DEL: errno.EPERM}
    with pytest.raises(OSError, match="failed: ipvsadm --stop-daemon master: as the kernel says"):
        keep()


def test_missing_interface_is_an_error_before_anything_is_asked(keep, kernel):
    kernel.interfaces = {}
    with pytest.raises(OSError, match=r"--start-daemon master .*: there is no such interface"):
        keep(MASTER)
    assert kernel.changes == []


def test_refused_dump_is_an_error(keep, kernel):
    kernel.errors = {DaemonCommand.GET: errno.EPERM}
    with pytest.raises(OSError, match="the sync daemons cannot be read: as the kernel says"):
        keep(MASTER)
