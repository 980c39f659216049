import pytest

from clusterf.config.decode import MAX_SIZE
from clusterf.config.model import Backend, BackendKey, FrontendKey
from clusterf.lib.store import Store
from clusterf.sources.last_good import KeyUpdate, LastGood, describe
from clusterf.sources.url import Source, check_tree, parse_source

URL = "file:///tree"
PATH, KEY = b"services/web/backends/1", BackendKey(b"web", b"1")
GOOD, BETTER, BAD = b'{"weight": 1}', b'{"weight": 2}', b'{"weight": -1}'


@pytest.fixture
def path(tmp_path):
    return tmp_path / "config.db"


def state(path):
    return LastGood(URL, Store(path))


def restarted(path, *told):
    """Return the state after a process that was told these, each a path and its bytes, and one that follows it."""
    before = state(path)
    for place, raw in told:
        before.put(place, raw)
    before.complete([place for place, _ in told])
    before.save()
    return state(path)


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("file:///etc/clusterf", "/etc/clusterf"),
        ("file://localhost/etc/clusterf", "/etc/clusterf"),
        ("file:/etc/clusterf", "/etc/clusterf"),
        ("file:///a%20b%3Fc%23d", "/a b?c#d"),
        ("file:///", "/"),
    ],
)
def test_a_file_url_names_a_directory(url, path):
    assert parse_source(url) == Source(url, tree=path)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "/etc/clusterf",
        "file://",
        "file:",
        "file:etc",
        "file://host/etc",
        "file:///etc?x",
        "file:///etc#x",
        "file:///a%00b",
        "file://[",
        "http://host/",
        "ftp:///etc",
        "é",
        "\udcff",
    ],
)
def test_any_other_url_is_refused_with_a_reason(url):
    with pytest.raises(ValueError, match=r".{10}"):
        parse_source(url)


def test_a_tree_has_to_be_a_directory(tmp_path):
    (tmp_path / "file").write_text("")
    check_tree(Source(URL, tree=str(tmp_path)))
    for name in ("file", "missing", "n" * 300):
        with pytest.raises(ValueError, match="file:///tree: "):
            check_tree(Source(URL, tree=str(tmp_path / name)))


def test_a_good_value_is_in_force(path):
    assert state(path).put(PATH, GOOD) == KeyUpdate(PATH, KEY, Backend(weight=1), ())


def test_an_empty_value_is_an_object_with_no_fields(path):
    assert state(path).put(PATH, b"").value == Backend()


def test_nothing_is_in_force_where_nothing_is(path):
    assert state(path).put(PATH, None) == KeyUpdate(PATH, KEY, None, ())


def test_a_path_that_is_no_key_is_only_a_warning(path):
    said = state(path).put(b"services/web/extra", BAD)
    assert (said.key, said.value, [problem.fatal for problem in said.problems]) == (None, None, [False])


def test_an_unknown_field_is_only_a_warning(path):
    said = state(path).put(PATH, b'{"weight": 1, "colour": "red"}')
    assert said.value == Backend(weight=1)
    assert [(problem.field, problem.fatal) for problem in said.problems] == [("colour", False)]


@pytest.mark.parametrize("bad", [BAD, b"{", b"[]", b"null", b"\xff", b"{}" + b" " * MAX_SIZE])
def test_a_bad_value_leaves_the_last_good_one_in_force(path, bad):
    source = state(path)
    source.put(PATH, GOOD)
    source.save()
    source.put(PATH, BETTER)
    said = source.put(PATH, bad)
    assert said.value == Backend(weight=2)
    assert any(problem.fatal for problem in said.problems)


def test_the_last_good_value_stays_in_force_after_a_restart(path):
    after = restarted(path, (PATH, GOOD))
    assert after.put(PATH, BAD).value == Backend(weight=1)
    after.complete([PATH])
    after.save()
    assert state(path).put(PATH, BAD).value == Backend(weight=1)


def test_a_bad_value_from_the_start_is_left_out(path):
    said = state(path).put(PATH, BAD)
    assert said.value is None
    assert said.unchanged


def test_without_a_store_whatever_is_in_force_stays():
    source = state(None)
    source.put(PATH, GOOD)
    source.save()
    said = source.put(PATH, BAD)
    assert said.unchanged
    assert said.value is None


def test_a_bad_value_after_a_removal_is_left_out(path):
    source = restarted(path, (PATH, GOOD))
    source.put(PATH, None)
    assert source.put(PATH, BAD).value is None
    source.save()
    assert source.put(PATH, BAD).value is None


def test_an_empty_value_is_a_last_good_one(path):
    source = restarted(path, (PATH, GOOD))
    source.put(PATH, b"")
    assert source.put(PATH, BAD).value == Backend()


def test_what_a_disk_could_not_take_is_the_last_good_value_all_the_same(path):
    store = Store(path)
    source = LastGood(URL, store)
    source.put(PATH, GOOD)
    source.save()
    store._db.execute("PRAGMA query_only = 1")
    source.put(PATH, BETTER)
    source.save()
    assert source.put(PATH, BAD).value == Backend(weight=2)


def test_what_went_while_away_is_forgotten_once_all_is_told(path):
    gone = b"services/web/backends/2"
    source = restarted(path, (PATH, GOOD), (gone, GOOD))
    source.put(PATH, GOOD)
    assert source.put(gone, BAD).value == Backend(weight=1)
    source.complete([PATH])
    source.save()
    assert state(path).put(gone, BAD).value is None


def test_a_value_that_went_and_came_back_before_all_is_told_is_the_last_good_one(path):
    source = restarted(path, (PATH, GOOD))
    for raw in (BETTER, GOOD):
        source.put(PATH, raw)
        source.save()
    source.complete([PATH])
    assert source.put(PATH, BAD).value == Backend(weight=1)


def test_what_is_below_an_unreadable_path_stays_in_force_and_on_disk(path):
    below, beside = b"services/web/frontend", b"services/web2/frontend"
    source = restarted(path, (PATH, GOOD), (below, b"{}"), (beside, b"{}"))
    trouble, *known = source.unreadable(b"services/web", "Input/output error")
    assert trouble.unchanged
    assert "Input/output error" in str(trouble.problems[0])
    assert {said.key for said in known} == {KEY, FrontendKey(b"web")}
    assert all(said.value is not None for said in known)
    source.complete([beside])
    source.save()
    assert {said.key for said in state(path).unreadable(b"", "x")} >= {KEY, FrontendKey(b"web"), FrontendKey(b"web2")}


def test_only_what_was_told_as_a_whole_is_a_copy(path):
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


def test_a_copy_follows_what_changes_after_it_was_told(path):
    source = restarted(path, (PATH, GOOD))
    source.complete([PATH])
    source.put(PATH, BETTER)
    source.put(b"routes/r", b"{}")
    source.save(revision=9)
    assert state(path).copy()[:2] == ({PATH: BETTER, b"routes/r": b"{}"}, 9)


def test_sources_do_not_share_what_they_remember(path):
    restarted(path, (PATH, GOOD))
    assert LastGood("file:///other", Store(path)).put(PATH, BAD).value is None


def test_nothing_is_written_when_nothing_has_changed(path):
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
    assert skipped.endswith(" (skipped: no previous valid value)")
    assert kept.endswith(" (keeping the previous valid value)")
    assert ignored.endswith(" (ignored)")
    assert unreadable.endswith(": Input/output error (keeping the previous valid values)")


def test_a_value_with_a_thousand_problems_takes_few_lines(path):
    raw = b"{%b}" % b",".join(b'"x%d": 1' % number for number in range(1000))
    lines = list(describe(state(path).put(PATH, raw)))
    assert len(lines) == 11
    assert "990 more" in lines[-1]
