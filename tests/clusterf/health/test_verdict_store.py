from contextlib import closing

import msgspec
import pytest

from clusterf.health.targets import shard_of
from clusterf.health.verdict import StoredVerdict, Verdict
from clusterf.health.verdict_store import VerdictStore
from clusterf.host import boot
from clusterf.lib.addresses import parse_endpoint
from clusterf.lib.store import Store

UP = StoredVerdict(Verdict(True, 100.0), proven=True)
DOWN = StoredVerdict(Verdict(False, 200.5, "refused"), proven=False)
KEYS = [(b"web", b"%d" % n, parse_endpoint(f"10.0.0.{n}:80")) for n in range(20)]
KEYS += [(b"w\xff", b"\x00", parse_endpoint("[fd00::1]:65535"))]
EVERY = {key: DOWN if n % 3 else UP for n, key in enumerate(KEYS)}


@pytest.fixture
def open_store(tmp_path):
    """Open the store of one of so many processes, as after a restart."""
    opened = []

    def open_store(name="health", shard=0, shards=1, **options):
        store = VerdictStore(tmp_path / f"{name}.db", lambda at: shard_of(at, shards) == shard, **options)
        opened.append(store)
        return store

    yield open_store
    for store in opened:
        store.close()


def shard(number, shards):
    return {key: stored for key, stored in EVERY.items() if shard_of(key[2], shards) == number}


def rows(path):
    with closing(Store(path, read_only=True)) as store:
        return {key for key, _ in store.items(f"verdicts {boot.boot_id()} {boot.namespace_id()}")}


def test_recorded_verdicts_are_loaded_after_a_restart(open_store):
    assert open_store().load() == {}
    open_store().record(EVERY)
    assert open_store().load() == EVERY


def test_verdict_recorded_as_none_is_deleted(open_store):
    store = open_store()
    store.record(EVERY)
    store.record({KEYS[0]: None, KEYS[1]: UP, (b"never", b"known", KEYS[0][2]): None})
    expected = EVERY | {KEYS[1]: UP}
    del expected[KEYS[0]]
    assert open_store().load() == expected


def test_unclaimed_verdicts_are_deleted_on_request(open_store):
    open_store().record(EVERY)
    store = open_store()
    store.load()
    store.record({KEYS[0]: EVERY[KEYS[0]], KEYS[1]: None})
    assert open_store().load().keys() == EVERY.keys() - {KEYS[1]}
    store.forget_unclaimed()
    assert open_store().load() == {KEYS[0]: EVERY[KEYS[0]]}


def test_verdicts_of_another_boot_are_deleted(open_store, monkeypatch, tmp_path):
    def reboot(name):
        (tmp_path / "boot_id").write_text(f"{name}\n")
        monkeypatch.setattr(boot, "_BOOT_ID", tmp_path / "boot_id")

    reboot("one")
    open_store().record(EVERY)
    reboot("two")
    assert open_store().load() == {}
    reboot("one")
    assert open_store().load() == {}


@pytest.mark.parametrize(("before", "after"), [(1, 3), (3, 1), (2, 3), (3, 2)])
def test_verdicts_follow_their_endpoints_to_another_number_of_processes(open_store, tmp_path, before, after):
    def names(count):
        return ["health"] if count == 1 else [f"health{n + 1}" for n in range(count)]

    for number, name in enumerate(names(before)):
        open_store(name, number, before).record(shard(number, before))
    stores = [open_store(name, number, after) for number, name in enumerate(names(after))]
    for number, store in enumerate(stores):
        found = store.load()
        assert found == shard(number, after)
        store.record(found)
        store.forget_unclaimed()
    # each verdict is stored once, in the file of its process
    assert sum(len(rows(path)) for path in tmp_path.glob("health*.db")) == len(EVERY)
    assert [len(rows(tmp_path / f"{name}.db")) for name in names(after)] == [
        len(shard(number, after)) for number in range(after)
    ]


def test_of_two_verdicts_the_later_is_loaded(open_store):
    old, new = StoredVerdict(Verdict(True, 1.0), proven=True), StoredVerdict(Verdict(False, 2.0, "reset"), proven=True)
    open_store("health1").record({KEYS[0]: old, KEYS[1]: new})
    open_store("health2").record({KEYS[0]: new, KEYS[1]: old})
    for name in ("health1", "health2", "health"):
        assert open_store(name).load() == {KEYS[0]: new, KEYS[1]: new}


def test_verdicts_stay_in_the_files_of_others_until_unclaimed_ones_are_deleted(open_store, tmp_path):
    open_store("health").record(EVERY)
    store = open_store("health1")
    store.record(store.load())
    assert len(rows(tmp_path / "health.db")) == len(EVERY)
    store.forget_unclaimed()
    assert rows(tmp_path / "health.db") == set()


def test_invalid_entry_is_ignored_and_logged(open_store, tmp_path, caplog):
    open_store().record(EVERY)
    good = msgspec.msgpack.encode(KEYS[0])
    strange = {b"": b"", b"\xff": b"\x00", b"\x93": b"", good: b"\xc0"}
    strange[msgspec.msgpack.encode((b"s", b"b", (b"\0\0\0\0", -1)))] = msgspec.msgpack.encode(UP)
    with closing(Store(tmp_path / "health.db")) as store:
        store.update(f"verdicts {boot.boot_id()} {boot.namespace_id()}", strange)
    assert open_store().load().keys() == EVERY.keys() - {KEYS[0]}
    assert len(caplog.records) == len(strange)


def test_damaged_file_of_another_process_is_left_unchanged(open_store, tmp_path, caplog):
    (tmp_path / "health9.db").write_bytes(b"no database" * 1000)
    open_store().record(EVERY)
    store = open_store()
    assert store.load() == EVERY
    store.forget_unclaimed()
    assert (tmp_path / "health9.db").read_bytes().startswith(b"no database")
    assert "health9.db" in caplog.text


def test_read_only_store_writes_nothing(open_store, tmp_path):
    open_store("health").record(EVERY)
    open_store("health2").record({KEYS[0]: DOWN})
    before = rows(tmp_path / "health.db"), rows(tmp_path / "health2.db")
    store = open_store("health", read_only=True)
    store.load()
    store.record({KEYS[0]: None, KEYS[1]: UP})
    store.forget_unclaimed()
    assert (rows(tmp_path / "health.db"), rows(tmp_path / "health2.db")) == before


def test_store_without_a_file_stores_nothing():
    store = VerdictStore(None, lambda at: True)
    assert store.load() == {}
    store.record(EVERY)
    store.forget_unclaimed()
    store.close()


def test_only_changed_verdicts_are_written(open_store, monkeypatch):
    store = open_store()
    written = []
    monkeypatch.setattr(store._store, "update", lambda section, changes: written.append(len(changes)))
    store.record(EVERY)
    store.record(EVERY | {KEYS[3]: UP if EVERY[KEYS[3]] == DOWN else DOWN})
    assert written == [len(EVERY), 1]
