import pytest

from clusterf.config.model import Backend, BackendCheck, BackendKey, FrontendKey, Route
from clusterf.etcd.values import MAX_VALUE, Oversized
from clusterf.lib.store import Store
from clusterf.sources.last_good import KeyUpdate, LastGood, describe, has_copy

URL = "file:///tree"
PATH, KEY = b"services/web/backends/1", BackendKey(b"web", b"1")
GOOD, BETTER, BAD = b'{"weight": 1}', b'{"weight": 2}', b'{"weight": -1}'


@pytest.fixture
def path(tmp_path):
    return tmp_path / "config.db"


def state(path):
    return LastGood(URL, Store(path))


def restarted(path, *present):
    """Return the state of a new process, after one that read a snapshot of these paths and bytes."""
    before = state(path)
    for place, raw in present:
        before.put(place, raw)
    before.complete([place for place, _ in present])
    before.save()
    return state(path)


def test_valid_value_is_in_force(path):
    assert state(path).put(PATH, GOOD) == KeyUpdate(PATH, KEY, Backend(weight=1), ())


def test_empty_value_of_a_route_is_an_object_without_fields(path):
    assert state(path).put(b"routes/r", b"").value == Route()


def test_missing_path_has_no_value(path):
    assert state(path).put(PATH, None) == KeyUpdate(PATH, KEY, None, ())


def test_unknown_key_is_a_warning(path):
    update = state(path).put(b"services/web/extra", BAD)
    assert (update.key, update.value, [problem.fatal for problem in update.problems]) == (None, None, [False])


def test_unknown_field_is_a_warning(path):
    update = state(path).put(PATH, b'{"weight": 1, "colour": "red"}')
    assert update.value == Backend(weight=1)
    assert [(problem.field, problem.fatal) for problem in update.problems] == [("colour", False)]


@pytest.mark.parametrize("bad", [BAD, b"", b" \n", b"{", b"[]", b"null", b"\xff", Oversized(2_000_000, MAX_VALUE)])
def test_bad_value_keeps_the_last_good_one_in_force(path, bad):
    source = state(path)
    source.put(PATH, GOOD)
    source.save()
    source.put(PATH, BETTER)
    update = source.put(PATH, bad)
    assert update.value == Backend(weight=2)
    assert any(problem.fatal for problem in update.problems)


def test_last_good_value_stays_in_force_after_a_restart(path):
    after = restarted(path, (PATH, GOOD))
    assert after.put(PATH, BAD).value == Backend(weight=1)
    after.complete([PATH])
    after.save()
    assert state(path).put(PATH, BAD).value == Backend(weight=1)


def test_bad_value_without_a_previous_one_has_no_value(path):
    update = state(path).put(PATH, BAD)
    assert update.value is None
    assert update.unchanged


def test_bad_value_without_a_store_leaves_the_value_in_force_unchanged():
    source = state(None)
    source.put(PATH, GOOD)
    source.save()
    update = source.put(PATH, BAD)
    assert update.unchanged
    assert update.value is None


def test_bad_value_after_a_removal_has_no_value(path):
    source = restarted(path, (PATH, GOOD))
    source.put(PATH, None)
    assert source.put(PATH, BAD).value is None
    source.save()
    assert source.put(PATH, BAD).value is None


def test_empty_value_of_a_route_is_a_last_good_one(path):
    source = restarted(path, (b"routes/r", b'{"IPVSMethod": "masq"}'))
    source.put(b"routes/r", b"")
    assert source.put(b"routes/r", BAD[:-1]).value == Route()


def test_empty_value_recorded_by_an_earlier_version_is_no_last_good_one(path):
    store = Store(path)
    store.update(URL, {PATH: b""})
    store.close()
    update = state(path).put(PATH, b"")
    assert (update.value, update.unchanged) == (None, True)


def test_last_good_value_is_kept_although_the_disk_refuses_it(path):
    store = Store(path)
    source = LastGood(URL, store)
    source.put(PATH, GOOD)
    source.save()
    store._file.db.execute("PRAGMA query_only = 1")
    source.put(PATH, BETTER)
    source.save()
    assert source.put(PATH, BAD).value == Backend(weight=2)


def test_missing_paths_are_forgotten_once_the_snapshot_is_complete(path):
    gone = b"services/web/backends/2"
    source = restarted(path, (PATH, GOOD), (gone, GOOD))
    source.put(PATH, GOOD)
    assert source.put(gone, BAD).value == Backend(weight=1)
    source.complete([PATH])
    source.save()
    assert state(path).put(gone, BAD).value is None


def test_value_restored_before_the_snapshot_is_complete_is_the_last_good_one(path):
    source = restarted(path, (PATH, GOOD))
    for raw in (BETTER, GOOD):
        source.put(PATH, raw)
        source.save()
    source.complete([PATH])
    assert source.put(PATH, BAD).value == Backend(weight=1)


def test_values_below_an_unreadable_path_stay_in_force_and_on_disk(path):
    below, beside = b"services/web/frontend", b"services/web2/frontend"
    source = restarted(path, (PATH, GOOD), (below, b"{}"), (beside, b"{}"))
    trouble, *known = source.unreadable(b"services/web", "Input/output error")
    assert trouble.unchanged
    assert "Input/output error" in str(trouble.problems[0])
    assert {update.key for update in known} == {KEY, FrontendKey(b"web")}
    assert all(update.value is not None for update in known)
    source.complete([beside])
    source.save()
    assert {update.key for update in state(path).unreadable(b"", "x")} >= {
        KEY,
        FrontendKey(b"web"),
        FrontendKey(b"web2"),
    }


def test_only_a_complete_snapshot_is_a_copy(path):
    source = state(path)
    source.put(PATH, GOOD)
    source.save()
    assert not state(path).has_copy
    assert state(path).copy() is None
    source.complete([PATH])
    source.save(revision=7)
    copy = state(path).copy()
    assert state(path).has_copy
    assert copy.items == {PATH: GOOD}
    assert copy.revision == 7
    assert 0 <= copy.age < 60


def test_copy_includes_later_changes(path):
    source = restarted(path, (PATH, GOOD))
    source.complete([PATH])
    source.put(PATH, BETTER)
    source.put(b"routes/r", b"{}")
    source.save(revision=9)
    assert state(path).copy()[:2] == ({PATH: BETTER, b"routes/r": b"{}"}, 9)


def test_sources_have_separate_records(path):
    restarted(path, (PATH, GOOD))
    assert LastGood("file:///other", Store(path)).put(PATH, BAD).value is None


def test_nothing_is_written_without_a_change(path):
    source = restarted(path, (PATH, GOOD))
    source.put(PATH, GOOD)
    source.complete([PATH])
    written = []
    source._store.update = lambda section, changes: written.append(changes)
    source.save()
    assert written == [{}]


def test_each_problem_is_described_with_its_consequence(path):
    source = state(path)
    (skipped,) = describe(source.put(PATH, BAD))
    source.put(PATH, GOOD)
    (kept,) = describe(source.put(PATH, BAD))
    (ignored,) = describe(source.put(b"extra", b""))
    (unreadable,) = describe(next(source.unreadable(b"services", "Input/output error")))
    (fallback,) = describe(source.put(b"health", b"{"))
    assert fallback.endswith(" (no previous valid value: checking by the default check, or else by TCP)")
    assert skipped.endswith(" (skipped: no previous valid value)")
    assert kept.endswith(" (keeping the previous valid value)")
    assert ignored.endswith(" (ignored)")
    assert unreadable.endswith(": Input/output error (keeping the previous valid values)")


def test_thousand_problems_of_a_value_take_few_lines(path):
    raw = b"{%b}" % b",".join(b'"x%d": 1' % number for number in range(1000))
    lines = list(describe(state(path).put(PATH, raw)))
    assert len(lines) == 11
    assert "990 more" in lines[-1]


def test_whole_copy_is_recognised_in_a_file_that_is_open(path):
    assert not has_copy(URL, None)
    assert not has_copy(URL, path)
    assert not path.exists()
    source = state(path)
    source.put(PATH, GOOD)
    source.save()
    assert not has_copy(URL, path)
    source.complete([PATH])
    source.save()
    assert has_copy(URL, path)
    assert not has_copy("file:///other", path)


def test_copy_with_a_missing_entry_is_none(path):
    restarted(path, (PATH, GOOD), (b"routes/r", b"{}"))
    Store(path).update(URL, {PATH: None})
    assert not has_copy(URL, path)
    assert not state(path).has_copy


@pytest.mark.parametrize("stale", [False, True])
def test_what_an_invalid_value_was_is_unknown_unless_the_record_is_one_of_the_whole_source(path, stale):
    source = state(path)
    source.put(PATH, BAD)
    assert source.unknown
    store = Store(path)
    before = LastGood(URL, store)
    before.complete([])
    before.save()
    before.renew()
    store.close()
    if stale:
        for mark in path.parent.glob("config.db*.complete"):
            mark.unlink()
    after = LastGood(URL, Store(path, keep_stale=True))
    after.put(PATH, BAD)
    assert bool(after.unknown) is stale


def test_recorded_value_that_is_no_longer_valid_is_unknown(path):
    store = Store(path)
    store.update(URL, {PATH: BAD})
    store.close()
    source = restarted(path, (b"health", b"{}"))
    assert not source.unknown, "as it is not there any more"
    source.complete([])
    source.save()
    Store(path).update(URL, {PATH: BAD})
    source = state(path)
    source.put(PATH, BAD)
    assert source.unknown


def test_path_whose_value_is_unknown_is_so_after_a_restart_until_it_is_decided(path):
    source = restarted(path, (PATH, BAD), (b"routes/r", b"{"), (b"health", b"{"))
    assert source.unknown
    source.put(PATH, GOOD)
    source.put(b"routes/r", None)
    assert source.unknown
    source.complete([PATH])
    source.read([PATH])
    assert not source.unknown, "health has gone"
    source.put(b"health", b"{")
    assert not source.unknown, "it had no value"
    source.save()
    assert not state(path).unknown


@pytest.mark.parametrize("end", ["readable", "forgotten"])
def test_what_an_unreadable_part_had_is_unknown_until_it_is_readable(path, end):
    source = state(path)
    list(source.unreadable(b"services", "Input/output error"))
    source.complete([])
    source.save()
    assert state(path).unknown
    if end == "readable":
        source.read([PATH, b"health"], [b"services"])
        assert source.unknown
        source.read([PATH, b"health"], [b"routes"])
    else:
        source.forget_unknown()
    source.save()
    assert not state(path).unknown


UNCLEAR = b'{"weight": 3, "health": {"path": "x"}}'
USABLE = Backend(weight=3, health=BackendCheck(origin="invalid"))


def test_backend_with_an_invalid_check_keeps_its_last_good_value_as_a_whole(path):
    source = restarted(path, (PATH, GOOD))
    update = source.put(PATH, UNCLEAR)
    assert update.value == Backend(weight=1)
    assert len(update.problems) == 1


@pytest.mark.parametrize("raw", [UNCLEAR, b'{"weight": 3, "health": 7}'])
def test_backend_with_an_invalid_check_and_no_good_value_is_checked_otherwise(path, raw):
    source = state(path)
    update = source.put(PATH, raw)
    assert (update.value, update.unchanged) == (USABLE, False)
    (line,) = describe(update)
    assert line.endswith(" (no previous valid value: checking as its service, or else by TCP)")
    assert source.put(PATH, b'{"weight": 4, "health": 7}').value.weight == 4, "the newest counts"


def test_backend_with_an_invalid_check_is_part_of_the_copy(path):
    source = restarted(path, (PATH, UNCLEAR))
    assert source.copy().items == {PATH: UNCLEAR}
    assert source.put(PATH, UNCLEAR).value == USABLE
    assert source.unknown is None
    assert [update.value for update in state(path).unreadable(b"services", "x")][1:] == [USABLE]


def test_without_a_store_the_receiver_keeps_the_last_good_value():
    source = LastGood(URL, Store(None))
    source.put(PATH, GOOD)
    source.save()
    assert source.put(PATH, UNCLEAR).unchanged
