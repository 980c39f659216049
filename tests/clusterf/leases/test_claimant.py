import pytest

from clusterf.leases import claimant
from clusterf.leases.claimant import Claimant
from clusterf.leases.claims import Claims
from clusterf.leases.holding import Holding
from clusterf.leases.lease_file import LeaseFile
from clusterf.leases.lease_record import LeaseRecord
from clusterf.leases.leased_keys import LeasedKeys
from tests.clusterf.support.fake_leases import FakeClient, FakeEtcd

BACKEND, ROUTE = b"services/web/backends/id", b"routes/id"
OURS, THEIRS = b'{"publisher":"b"}', b'{"publisher":"a"}'


class Node:
    """A node, `b`, beside another whose lease is 7."""

    def __init__(self, etcd, monkeypatch):
        claims = Claims(LeasedKeys(), "b", lambda path: path + b"-b" if path == ROUTE else None)
        self.etcd = etcd
        self.now = 100.0
        monkeypatch.setattr(claimant.time, "monotonic", lambda: self.now)
        self.holding = Holding(600, LeaseRecord(LeaseFile(None, 600, b"/")), lambda _: None, claims)
        self.client = FakeClient(None, "e:1", 1)
        self.holding.granted(self.client.grant(600))
        self.claimant = Claimant(self.client, self.holding)

    def work(self, seconds=0.0):
        self.now += seconds
        for _ in range(2):
            while (step := self.holding.keys.next()) is not None:
                self.claimant.write(step)
            self.claimant.look()
        return self.etcd.leases[1]


@pytest.fixture
def etcd():
    FakeClient.etcd = FakeEtcd()
    FakeClient.etcd.leases[7] = {}
    return FakeClient.etcd


@pytest.fixture
def node(etcd, monkeypatch):
    return Node(etcd, monkeypatch)


def want(node, **keys):
    for path, value in keys.items():
        node.holding.claims.want({"backend": BACKEND, "route": ROUTE}.get(path, path.encode()), value)


def test_route_of_another_node_is_reported_once_and_ours_is_beside_it(node, etcd, caplog):
    etcd.leases[7] = {ROUTE: b"theirs"}
    want(node, route=b"ours")
    assert node.work() == {ROUTE + b"-b": b"ours"}
    want(node, route=b"new")
    assert node.work() == {ROUTE + b"-b": b"new"}
    line = "etcd e:1: routes/id is another node's route to the same network: publishing ours as routes/id-b"
    assert caplog.messages == [line]


def test_key_that_is_wanted_under_another_name_is_not_deleted_before_that_is_known(node, etcd):
    etcd.leases[7] = {ROUTE: b"theirs"}
    etcd.leases[1] = {ROUTE + b"-b": b"ours", b"old": b"1"}
    node.holding.keys.reset_written(etcd.leases[1])
    node.holding.keys.believe()
    written = etcd.revision
    node.holding.claims.want_only({ROUTE: b"ours"})
    node.holding.keys.believe()
    assert node.work() == {ROUTE + b"-b": b"ours"}
    assert etcd.revision == written + 1, "but for the old one nothing was written"


def test_node_stands_by_while_another_keeps_its_lease_alive_and_reports_it_when_that_changes(node, etcd, caplog):
    caplog.set_level("INFO")
    etcd.leases[7] = {BACKEND: THEIRS}
    want(node, backend=OURS)
    for _ in range(3):
        assert node.work(1) == {}
    want(node, another=b"1")
    etcd.times[7] = (3, 10)
    assert node.work(1) == {BACKEND: OURS, b"another": b"1"}
    assert etcd.leases[7] == {}
    node.work(1)
    what = "etcd e:1: containers of ours are published by node a: it is on the same engine, or on a copy of it;"
    begun = f"{what} standing by for these until it ends"
    assert caplog.messages == [begun, "etcd e:1: no longer standing by for node a"]
    assert not node.claimant.is_waiting


def test_node_whose_keys_pass_to_its_next_lease_is_reported_once(node, etcd, caplog):
    caplog.set_level("INFO")
    etcd.leases[7] = {BACKEND: THEIRS}
    want(node, backend=OURS)
    node.work()
    etcd.leases[8] = {}
    etcd.change([(BACKEND, THEIRS)], [], 8)
    etcd.end(7)
    for _ in range(3):
        assert node.work(1) == {}
    assert len(caplog.messages) == 1


def test_key_that_the_other_node_removes_is_not_ours_at_once(node, etcd):
    etcd.leases[7] = {BACKEND: THEIRS}
    want(node, backend=OURS)
    node.work()
    etcd.leases[7].clear()
    node.holding.claims.freed([BACKEND])
    assert node.work(0.1) == {}
    assert node.work(1) == {BACKEND: OURS}


def test_key_that_goes_with_the_lease_of_the_other_node_is_ours_at_once(node, etcd):
    etcd.leases[7] = {BACKEND: THEIRS}
    want(node, backend=OURS)
    node.work()
    etcd.end(7)
    node.holding.claims.freed([BACKEND])
    assert node.work(0.1) == {BACKEND: OURS}


def test_key_of_an_earlier_run_of_ours_is_written_over_if_it_differs_and_else_when_its_lease_ends(node, etcd, caplog):
    etcd.leases[7] = {BACKEND: OURS, b"services/web/backends/more": OURS}
    want(node, backend=b'{"publisher":"b","weight":0}', **{"services/web/backends/more": OURS})
    assert node.work() == {BACKEND: b'{"publisher":"b","weight":0}'}
    etcd.times[7] = (200, 600)
    assert len(node.work(1)) == 2
    assert not caplog.messages


def test_other_node_with_our_name_is_reported_when_its_lease_outlives_its_time(node, etcd, caplog):
    etcd.leases[7] = {BACKEND: OURS}
    etcd.times[7] = (9, 10)
    want(node, backend=OURS)
    node.work()
    node.work(10)
    assert not caplog.messages
    node.work(1)
    assert [line.partition(":")[0] for line in caplog.messages] == ["etcd e"]
    assert "containers of ours are published by another node with our name" in caplog.text


@pytest.mark.parametrize("owner", [0, 1])
def test_key_that_is_on_no_lease_or_on_ours_after_all_is_written_all_the_same(node, etcd, owner):
    etcd.leases[owner] = {BACKEND: b"0"}
    if owner == 0:
        node.holding.keys.found(BACKEND)
    want(node, backend=OURS)
    assert node.work() == {BACKEND: OURS}


def test_key_that_goes_while_it_is_looked_at_is_written(node, etcd, monkeypatch):
    etcd.leases[7] = {BACKEND: THEIRS}
    read = node.client.read

    def read_too_late(paths):
        etcd.leases[7].clear()
        return read(paths)

    monkeypatch.setattr(node.client, "read", read_too_late)
    want(node, backend=OURS)
    assert node.work() == {BACKEND: OURS}
