"""State files: `state-file` is the bytes of one, `state-rows` what its rows hold, for each that reads them."""

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Any

from actors.docker.record_keeper import RECORDS, _stored_records
from clusterf.health.verdict_store import VerdictStore
from clusterf.host.boot import boot_id, namespace_id
from clusterf.leases.lease_file import LeaseFile, Machine
from clusterf.lib.store import Store
from clusterf.reconcile.hold_record import HoldRecord
from clusterf.reconcile.kept_record import KeptRecord
from clusterf.reconcile.lapse_record import LapseRecord
from clusterf.reconcile.ownership import Ownership
from clusterf.reconcile.record import Record
from clusterf.sources.last_good import LastGood, describe
from clusterf.sources.lineage import Lineage
from clusterf.sources.mounts import Place
from clusterf.sources.source_record import SourceRecord
from tests.fuzz.invariants import assert_printable, logged
from tests.fuzz.link import mutate_packed
from tests.fuzz.mutate import Mutate, in_parts, mutate_bytes, mutate_json, one_of
from tests.fuzz.target import Target, parts, targets
from tests.fuzz.tree import scratch

__all__ = ["TARGETS"]

URL = "file:///etc/clusterf"
JOINT = b"\n==\n"  # between the key and the value of a row
BOOT = f"{boot_id()} {namespace_id()}"


def _file(data: bytes) -> str:
    """Check that a file of any bytes is read or replaced, and that what is written to it then is there."""
    with scratch() as folder:
        path = folder / "config.db"
        path.write_bytes(data)
        with logged() as lines:
            with closing(Store(path, sections=(URL,), keep_stale=True)) as store:
                found = dict(store.items(URL))
                store.renew()
                written = store.update(URL, {b"health": b"{}", b"routes/r": None})
            with closing(Store(path, sections=(URL,), keep_stale=True)) as store:
                again = dict(store.items(URL))
        if written:
            found.pop(b"routes/r", None)
            assert again == found | {b"health": b"{}"}, "what was written is not there"
        replaced = path.with_name("config.db.damaged").exists()
        return f"{'replaced' if replaced else 'read'}, {min(len(found), 3)} rows, {min(len(lines), 3)} lines"


def _rows(data: bytes) -> str:
    """Check that a reader of rows takes what is a record, and ignores the rest with a line."""
    name, *rows = parts(data)
    read = READERS.get(name)
    if read is None:
        return "no reader"
    with scratch() as folder, logged() as lines:
        path = folder / "state.db"
        entries = {key: value for key, _, value in (row.partition(JOINT) for row in rows)}
        outcome = read(path, entries)
    return f"{name.decode()}: {outcome}{', complaints' if lines else ''}"


def _written(path: Path, section: str, entries: dict[bytes, bytes]) -> Store:
    store = Store(path)
    store.update(section, dict(entries))
    return store


def _verdicts(path: Path, entries: dict[bytes, bytes]) -> str:
    _written(path, f"verdicts {BOOT}", entries).close()
    verdicts = VerdictStore(path, lambda at: at.port % 2 == 0 or bool(str(at.address)))
    found = verdicts.load()
    verdicts.record(found)
    verdicts.forget_unclaimed()
    verdicts.close()
    return str(min(len(found), 3))


def _last_good(path: Path, entries: dict[bytes, bytes]) -> str:
    with closing(_written(path, URL, entries)) as store:
        last_good = LastGood(URL, store)
        copy = last_good.copy()
        for entry in [*(copy.items if copy else {}), *entries, b"services/web/frontend"]:
            for line in describe(last_good.put(entry, b"[")):
                assert_printable(line)
        for update in last_good.unreadable(b"services", "gone"):
            for line in describe(update):
                assert_printable(line)
        last_good.complete([])
        last_good.save(9)
        return "copy" if copy else "no copy"


def _origin(path: Path, entries: dict[bytes, bytes]) -> str:
    with closing(_written(path, SourceRecord.section(URL), entries)) as store:
        record = SourceRecord(URL, store)
        lineage = Lineage(record, 5)
        lineage.judge(7, 9, lambda: None)
        LastGood(URL, store).save()
        places = record.get("mounts", dict[bytes, Place])
        return f"{lineage.doubt is not None}, {bool(places)}"


def _recorded(kind: str, load: Callable[[Record], Any]) -> Callable[[Path, dict[bytes, bytes]], str]:
    def read(path: Path, entries: dict[bytes, bytes]) -> str:
        with closing(_written(path, f"{kind} {BOOT}", entries)) as store:
            return "some" if load(Record(store, kind)) else "none"

    return read


def _owned(path: Path, entries: dict[bytes, bytes]) -> str:
    ownership = Ownership(_written(path, f"owned {BOOT}", entries))
    found = ownership.load()
    ownership.record(dict.fromkeys(found))
    assert not ownership.load(), "removed, but still there"
    ownership.close()
    return str(min(len(found), 3))


def _lapses(record: Record) -> Any:
    lapses = LapseRecord(record)
    found = lapses.load()
    lapses.update(dict.fromkeys(found))
    assert not lapses.load(), "removed, but still there"
    return found


def _again(record: Any) -> Any:
    found = record.load()
    record.save(found)
    return found


def _containers(path: Path, entries: dict[bytes, bytes]) -> str:
    with closing(_written(path, RECORDS, entries)) as store:
        return str(min(len(dict(_stored_records(store))), 3))


def _lease(path: Path, entries: dict[bytes, bytes]) -> str:
    path.write_bytes(next(iter(entries), b""))
    file = LeaseFile(path, 15, b"/clusterf/", Machine("machine", "boot"))
    lease = file.read()
    assert 0 <= lease < 1 << 63
    file.write(lease)
    return str(bool(lease))


READERS: dict[bytes, Callable[[Path, dict[bytes, bytes]], str]] = {
    b"verdicts": _verdicts,
    b"last-good": _last_good,
    b"origin": _origin,
    b"owned": _owned,
    b"hold": _recorded("hold", lambda record: _again(HoldRecord(record))),
    b"kept": _recorded("kept", lambda record: _again(KeptRecord(record)).servers),
    b"lapses": _recorded("lapses", _lapses),
    b"containers": _containers,
    b"lease": _lease,
}


def mutate_row(data: bytes, rng: Random) -> bytes:
    """Change the key or the value of a row, which are JSON, msgpack, or a path."""
    key, joint, value = data.partition(JOINT)
    mutate: Mutate = one_of(mutate_packed, mutate_json, mutate_bytes)
    if rng.random() < 0.4 or not joint:
        return mutate(key, rng) + joint + value
    return key + joint + mutate(value, rng)


_USERS = (
    "health.verdict_store",
    "sources.last_good",
    "sources.source_record",
    "sources.lineage",
    "reconcile.ownership",
)
_USERS += (
    "reconcile.hold_record",
    "reconcile.kept_record",
    "reconcile.lapse_record",
    "docker.record",
    "leases.lease_file",
)
TARGETS = targets(
    {
        "state-file": Target(_file, ("clusterf.lib.store", "clusterf.lib.state_file"), mutate_bytes, 1 << 15),
        "state-rows": Target(
            _rows, tuple(f"clusterf.{name}" for name in _USERS), in_parts(mutate_row, also=list(READERS))
        ),
    }
)
