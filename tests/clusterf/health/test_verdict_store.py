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
PLACES = [(b"web", b"%d" % n, parse_endpoint(f"10.0.0.{n}:80")) for n in range(20)]
PLACES += [(b"w\xff", b"\x00", parse_endpoint("[fd00::1]:65535"))]
EVERY = {place: DOWN if n % 3 else UP for n, place in enumerate(PLACES)}


@pytest.fixture
def open_record(tmp_path):
    """What opens the record of one of so many processes, as after a restart."""
    opened = []

    def open_record(name="health", shard=0, shards=1, **options):
        record = VerdictStore(tmp_path / f"{name}.db", lambda at: shard_of(at, shards) == shard, **options)
        opened.append(record)
        return record

    yield open_record
    for record in opened:
        record.close()


def shard(number, shards):
    return {place: memory for place, memory in EVERY.items() if shard_of(place[2], shards) == number}


def rows(path):
    with closing(Store(path, read_only=True)) as store:
        return {key for key, _ in store.items(f"verdicts {boot.boot_id()}")}


def test_what_is_recorded_is_there_after_a_restart(open_record):
    assert open_record().load() == {}
    open_record().record(EVERY)
    assert open_record().load() == EVERY


def test_what_is_known_no_more_is_gone_from_the_record(open_record):
    record = open_record()
    record.record(EVERY)
    record.record({PLACES[0]: None, PLACES[1]: UP, (b"never", b"known", PLACES[0][2]): None})
    expected = EVERY | {PLACES[1]: UP}
    del expected[PLACES[0]]
    assert open_record().load() == expected


def test_what_nobody_speaks_of_is_forgotten_when_all_there_is_has_been_recorded(open_record):
    open_record().record(EVERY)
    record = open_record()
    record.load()
    record.record({PLACES[0]: EVERY[PLACES[0]], PLACES[1]: None})
    assert open_record().load().keys() == EVERY.keys() - {PLACES[1]}
    record.forget_unclaimed()
    assert open_record().load() == {PLACES[0]: EVERY[PLACES[0]]}


def test_another_boot_has_a_record_of_its_own_and_forgets_the_old_one(open_record, monkeypatch, tmp_path):
    def reboot(name):
        (tmp_path / "boot_id").write_text(f"{name}\n")
        monkeypatch.setattr(boot, "_BOOT_ID", tmp_path / "boot_id")

    reboot("one")
    open_record().record(EVERY)
    reboot("two")
    assert open_record().load() == {}
    reboot("one")
    assert open_record().load() == {}


@pytest.mark.parametrize(("before", "after"), [(1, 3), (3, 1), (2, 3), (3, 2)])
def test_another_number_of_processes_finds_what_the_others_left(open_record, tmp_path, before, after):
    def names(count):
        return ["health"] if count == 1 else [f"health{n + 1}" for n in range(count)]

    for number, name in enumerate(names(before)):
        open_record(name, number, before).record(shard(number, before))
    records = [open_record(name, number, after) for number, name in enumerate(names(after))]
    for number, record in enumerate(records):
        found = record.load()
        assert found == shard(number, after)
        record.record(found)
        record.forget_unclaimed()
    # each is on record once, where it belongs now
    assert sum(len(rows(path)) for path in tmp_path.glob("health*.db")) == len(EVERY)
    assert [len(rows(tmp_path / f"{name}.db")) for name in names(after)] == [
        len(shard(number, after)) for number in range(after)
    ]


def test_of_two_memories_the_later_one_counts(open_record):
    old, new = StoredVerdict(Verdict(True, 1.0), proven=True), StoredVerdict(Verdict(False, 2.0, "reset"), proven=True)
    open_record("health1").record({PLACES[0]: old, PLACES[1]: new})
    open_record("health2").record({PLACES[0]: new, PLACES[1]: old})
    for name in ("health1", "health2", "health"):
        assert open_record(name).load() == {PLACES[0]: new, PLACES[1]: new}


def test_what_changed_hands_stays_with_the_others_until_it_is_settled(open_record, tmp_path):
    open_record("health").record(EVERY)
    record = open_record("health1")
    record.record(record.load())
    assert len(rows(tmp_path / "health.db")) == len(EVERY)
    record.forget_unclaimed()
    assert rows(tmp_path / "health.db") == set()


def test_what_is_not_understood_is_left_out_and_reported(open_record, tmp_path, caplog):
    open_record().record(EVERY)
    good = msgspec.msgpack.encode(PLACES[0])
    strange = {b"": b"", b"\xff": b"\x00", b"\x93": b"", good: b"\xc0"}
    strange[msgspec.msgpack.encode((b"s", b"b", (b"\0\0\0\0", -1)))] = msgspec.msgpack.encode(UP)
    with closing(Store(tmp_path / "health.db")) as store:
        store.update(f"verdicts {boot.boot_id()}", strange)
    assert open_record().load().keys() == EVERY.keys() - {PLACES[0]}
    assert len(caplog.records) == len(strange)


def test_a_file_of_others_that_is_damaged_is_left_alone(open_record, tmp_path, caplog):
    (tmp_path / "health9.db").write_bytes(b"no database" * 1000)
    open_record().record(EVERY)
    record = open_record()
    assert record.load() == EVERY
    record.forget_unclaimed()
    assert (tmp_path / "health9.db").read_bytes().startswith(b"no database")
    assert "health9.db" in caplog.text


def test_a_reader_changes_nothing(open_record, tmp_path):
    open_record("health").record(EVERY)
    open_record("health2").record({PLACES[0]: DOWN})
    before = rows(tmp_path / "health.db"), rows(tmp_path / "health2.db")
    record = open_record("health", read_only=True)
    record.load()
    record.record({PLACES[0]: None, PLACES[1]: UP})
    record.forget_unclaimed()
    assert (rows(tmp_path / "health.db"), rows(tmp_path / "health2.db")) == before


def test_without_a_file_nothing_is_kept_and_nothing_fails():
    record = VerdictStore(None, lambda at: True)
    assert record.load() == {}
    record.record(EVERY)
    record.forget_unclaimed()
    record.close()


def test_only_what_changes_is_written(open_record, monkeypatch):
    record = open_record()
    written = []
    monkeypatch.setattr(record._store, "update", lambda section, changes: written.append(len(changes)))
    record.record(EVERY)
    record.record(EVERY | {PLACES[3]: UP if EVERY[PLACES[3]] == DOWN else DOWN})
    assert written == [len(EVERY), 1]
