from clusterf.lib.store import Store
from clusterf.sources.leased_paths import LeasedPaths

URL = "etcd://a/clusterf"


def leased(path=None):
    return LeasedPaths(URL, Store(path))


def test_path_is_on_the_lease_that_was_put_last():
    paths = leased()
    paths.put(b"a", 7)
    paths.put(b"b", 7)
    paths.put(b"a", 8)
    assert (paths.lease(b"a"), paths.lease(b"b"), paths.lease(b"c")) == (8, 7, 0)
    assert set(paths.leases) == {7, 8}
    paths.put(b"b", 0)
    assert (set(paths.leases), set(paths.paths)) == ({8}, {b"a"})
    paths.put(b"b", 0)
    assert paths.lease(b"b") == 0


def test_leases_are_known_after_a_restart(tmp_path):
    before = leased(tmp_path / "state")
    for path, lease in ((b"a", 7), (b"b", 2**63 - 1), (b"c", 9), (b"d", -1)):
        before.put(path, lease)
    before.save()
    before.put(b"c", 0)
    before.put(b"a", 8)
    before.save()
    before.put(b"b", 5)  # is lost
    after = leased(tmp_path / "state")
    assert {path: after.lease(path) for path in after.paths} == {b"a": 8, b"b": 2**63 - 1, b"d": -1}
    assert set(after.leases) == {8, 2**63 - 1, -1}


def test_only_what_changed_is_written(monkeypatch):
    written = []
    store = Store(None)
    monkeypatch.setattr(store, "update", lambda section, changes: written.append((section, changes)))
    paths = LeasedPaths(URL, store)
    paths.put(b"a", 7)
    paths.put(b"b", 7)
    paths.save()
    paths.put(b"a", 7)
    paths.save()
    paths.put(b"b", 0)
    paths.save()
    seven = (7).to_bytes(8)
    section = LeasedPaths.section(URL)
    assert written == [(section, {b"a": seven, b"b": seven}), (section, {b"b": None})]
