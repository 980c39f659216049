"""TreeFollower on its own; in its actor, through all kinds of edits: see tests/actors/config/test_file_watcher.py."""

import re
import threading
import time
from contextlib import contextmanager

import pytest

from clusterf.config.model import Backend
from clusterf.sources import tree_follower
from clusterf.sources.doubt import DoubtKind, SourceDoubt
from clusterf.sources.last_good import KeyUpdate
from clusterf.sources.tree_follower import TreeFollower
from tests.waiting import wait_until

PATH = "services/web/backends/1"


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "root"
    root.mkdir()
    return root


@contextmanager
def following(root, *, once=False, state_file=None):
    """Follow the tree; yield the follower, its thread, and what it passed on: updates, and whether these are all."""
    passed = []
    follower = TreeFollower(
        f"file://{root}", root, state_file, 1000.0, lambda updates, synced: passed.append((updates, synced)), once=once
    )
    thread = threading.Thread(target=follower.run)
    thread.start()
    try:
        yield follower, thread, passed
    finally:
        follower.stop()
        thread.join(10)
        assert not thread.is_alive()


UNKNOWN = "values are invalid or unreadable, and what they were is not known, since "
UNDATED = re.compile(r"since \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00$")


def write(root, text, path=PATH):
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = root / ".draft"
    draft.write_text(text)
    draft.rename(file)


def values(passed):
    return [u.value for updates, _ in passed for u in updates if isinstance(u, KeyUpdate) and u.path == PATH.encode()]


def doubts(passed, kind=DoubtKind.SOURCE):
    doubts = [update for updates, _ in passed for update in updates if isinstance(update, SourceDoubt)]
    return [doubt.reason and UNDATED.sub("since ", doubt.reason) for doubt in doubts if doubt.kind is kind]


def is_synced(passed):
    return any(synced for _, synced in passed)


def test_first_snapshot_is_complete_once(root):
    write(root, '{"weight": 1}')
    with following(root) as (_, _, passed):
        wait_until(lambda: is_synced(passed))
        write(root, '{"weight": 2}')
        wait_until(lambda: values(passed)[-1] == Backend(weight=2))
    assert [synced for _, synced in passed].count(True) == 1


def test_empty_tree_is_a_complete_snapshot(root):
    with following(root) as (_, _, passed):
        wait_until(lambda: passed == [([], True)])


def test_missing_root_is_no_snapshot(root):
    root.rmdir()
    with following(root) as (_, _, passed):
        wait_until(lambda: passed)
        assert not is_synced(passed)
        assert all(update.unchanged for updates, _ in passed for update in updates)
        root.mkdir()
        write(root, '{"weight": 1}')
        wait_until(lambda: is_synced(passed) and values(passed))
    assert values(passed)[-1] == Backend(weight=1)


def test_snapshot_waits_until_a_bad_value_is_believed(root):
    write(root, '{"weight": ')
    with following(root) as (_, _, passed):
        wait_until(lambda: passed)
        ((doubt, update), synced) = passed[0]
    assert synced
    assert doubt.kind is DoubtKind.UNKNOWN
    assert update.unchanged
    assert update.problems


def test_once_ends_with_the_first_snapshot(root):
    write(root, '{"weight": 1}')
    with following(root, once=True) as (_, thread, passed):
        thread.join(10)
        assert not thread.is_alive()
    assert passed[-1][1]


def test_many_updates_are_passed_on_in_parts(root, monkeypatch):
    monkeypatch.setattr(tree_follower, "PART", 10)
    for number in range(25):
        write(root, '{"weight": 1}', f"services/web/backends/{number}")
    with following(root) as (_, _, passed):
        wait_until(lambda: is_synced(passed))
    assert [(len(updates), synced) for updates, synced in passed][:3] == [(10, False), (10, False), (5, True)]


def test_reload_reads_files_that_look_unchanged(root):
    write(root, '{"weight": 1}')
    with following(root) as (follower, _, passed):
        wait_until(lambda: is_synced(passed))
        known = len(values(passed))
        follower.reload()
        wait_until(lambda: len(values(passed)) > known)


def test_change_is_under_way_until_no_file_has_changed_for_a_while(root, monkeypatch):
    monkeypatch.setattr(tree_follower, "PART", 2)
    write(root, '{"weight": 1}')
    with following(root) as (_, _, passed):
        wait_until(lambda: is_synced(passed))
        assert doubts(passed, DoubtKind.CHANGE) == []
        (root / "new").mkdir()
        for number in range(3):
            write(root, "{}", f"new/{number}")
        (root / "new").rename(root / "routes")
        wait_until(lambda: doubts(passed, DoubtKind.CHANGE) == ["files are being written", None])
    changes = [update for updates, _ in passed[1:] for update in updates]
    assert isinstance(changes[0], SourceDoubt), "before all that has changed"
    assert isinstance(changes[-1], SourceDoubt), "after it"


def test_copy_that_may_be_out_of_date_puts_removals_in_doubt_until_the_tree_is_back(root, tmp_path):
    write(root, "{}")
    state_file = tmp_path / "config.db"
    with following(root, state_file=state_file) as (_, _, passed):
        wait_until(lambda: any(synced for _, synced in passed))
    for mark in tmp_path.glob("config.db.*.complete"):
        mark.unlink()  # as a write that fails does
    root.rename(tmp_path / "away")
    with following(root, state_file=state_file) as (_, _, passed):
        wait_until(lambda: any(synced for _, synced in passed))
        assert doubts(passed) == ["the last-good copy may be out of date"]
        (tmp_path / "away").rename(root)
        wait_until(lambda: doubts(passed)[1:] == [None])
    root.rename(tmp_path / "away")
    with following(root, state_file=state_file) as (_, _, passed):
        wait_until(lambda: any(synced for _, synced in passed))
        assert doubts(passed) == [], "all was written anew"


def test_what_a_part_had_that_is_unreadable_at_a_start_without_a_copy_is_unknown_until_it_is_back(root, tmp_path):
    write(root, "{}", "health")
    (root / "services").symlink_to(tmp_path / "away")
    with following(root, state_file=tmp_path / "config.db") as (_, _, passed):
        wait_until(lambda: is_synced(passed))
        assert doubts(passed, DoubtKind.UNKNOWN) == [UNKNOWN]
        before = passed[0][0][0]
    with following(root, state_file=tmp_path / "config.db") as (_, _, passed):
        wait_until(lambda: is_synced(passed))
        assert doubts(passed, DoubtKind.UNKNOWN) == [UNKNOWN], "also though there is a copy now"
        assert passed[0][0][0] == before
        (tmp_path / "away").mkdir()
        wait_until(lambda: doubts(passed, DoubtKind.UNKNOWN) == [UNKNOWN, None])
    assert doubts(passed) == []


@pytest.mark.parametrize("how", ["valid", "deleted", "confirmed"])
def test_what_an_invalid_value_was_is_unknown_until_it_is_valid_or_deleted_or_confirmed(root, tmp_path, how):
    write(root, "{", "health")
    with following(root, state_file=tmp_path / "config.db") as (follower, _, passed):
        wait_until(lambda: is_synced(passed))
        first = next(update for updates, _ in passed for update in updates)
        assert isinstance(first, SourceDoubt)
        if how == "valid":
            write(root, "{}", "health")
        elif how == "deleted":
            (root / "health").unlink()
        else:
            follower.confirm()
        wait_until(lambda: doubts(passed, DoubtKind.UNKNOWN) == [UNKNOWN, None])
    with following(root, state_file=tmp_path / "config.db") as (_, _, passed):
        wait_until(lambda: is_synced(passed))
    assert doubts(passed, DoubtKind.UNKNOWN) == []


def test_tree_is_known_as_of_each_look_while_its_root_is_there(root, tmp_path):
    write(root, "{}")
    with following(root) as (follower, _, passed):
        wait_until(lambda: is_synced(passed))
        began = time.monotonic()
        wait_until(lambda: follower.known > began)
        root.rename(tmp_path / "away")
        wait_until(lambda: follower._unreadable)
        known = follower.known
        wait_until(lambda: follower._backoff.tries > 1)
        assert follower.known == known
        (tmp_path / "away").rename(root)
        wait_until(lambda: follower.known > known)


@pytest.mark.parametrize("error", [OSError("no more watches"), RuntimeError("a name that is not UTF-8")])
def test_tree_that_cannot_be_watched_is_known_as_of_each_scan(root, monkeypatch, error):
    def refuse(*_, **__):
        raise error

    monkeypatch.setattr(tree_follower.watchfiles, "watch", refuse)
    write(root, "{}")
    with following(root) as (follower, _, passed):
        wait_until(lambda: is_synced(passed))
        began = time.monotonic()
        wait_until(lambda: follower.known > began)
