"""EtcdFollower and its last-good copy, with an etcd in memory."""

import logging
import sqlite3

import pytest

from clusterf.etcd.errors import EtcdError
from tests.clusterf.support.fake_etcd import (
    LOCATION,
    URL,
    following,
    path,
    wait_for_watch,
    weight,
)
from tests.waiting import wait_until


def test_log_names_the_revision_and_age_of_the_copy(etcd, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    with following(etcd, tmp_path / "config.db") as (_, view):
        wait_for_watch(etcd)
        etcd.change(path(1), weight(1))
        view.wait_for(etcd)
    etcd.down = set(LOCATION.endpoints)
    with following(etcd, tmp_path / "config.db") as (_, view):
        view.wait_for(etcd)
    assert f"{URL}: unreachable, using the last-good copy of revision 2, 0 seconds old" in caplog.text


def test_no_update_before_etcd_responds_if_there_is_no_copy(etcd):
    etcd.down = set(LOCATION.endpoints)
    with following(etcd) as (_, view):
        wait_until(lambda: len(etcd.lists) > 10)
        assert (view.weights, view.synced) == ({}, [])
        etcd.down.clear()
        wait_until(lambda: view.synced == [set()])


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE entries SET value = x'7b7d' WHERE key = CAST('services/web/backends/1' AS BLOB)",
        "UPDATE entries SET checksum = checksum + 1 WHERE key = CAST('services/web/backends/1' AS BLOB)",
        "UPDATE entries SET key = x'41' WHERE key = CAST('services/web/backends/1' AS BLOB)",
        "UPDATE entries SET key = CAST(key AS TEXT) WHERE key = CAST('services/web/backends/1' AS BLOB)",
        "UPDATE entries SET section = 'etcd://x' WHERE key = CAST('services/web/backends/1' AS BLOB)",
        "DELETE FROM entries WHERE key = CAST('services/web/backends/1' AS BLOB)",
        "DELETE FROM entries WHERE key = x''",
        "UPDATE entries SET value = x'5b5d' WHERE key = x''",
    ],
)
def test_damaged_copy_is_ignored_and_replaced(etcd, tmp_path, damage, caplog):
    state_file = tmp_path / "config.db"
    for number in (1, 2):
        etcd.change(path(number), weight(number))
    with following(etcd, state_file) as (_, view):
        view.wait_for(etcd)
    with sqlite3.connect(state_file) as db:
        assert db.execute(damage).rowcount == 1
    db.close()

    etcd.down = set(LOCATION.endpoints)
    with following(etcd, state_file) as (_, view):
        wait_until(lambda: len(etcd.lists) > 10)
        assert (view.weights, view.synced) == ({}, [])
        assert "no last-good copy" in caplog.text
        etcd.down.clear()
        view.wait_for(etcd)
    etcd.down = set(LOCATION.endpoints)
    with following(etcd, state_file) as (_, view):
        view.wait_for(etcd)
        assert len(etcd.lists) > 0


def test_last_good_value_survives_outages_and_restarts(etcd, tmp_path):
    state_file = tmp_path / "config.db"
    etcd.change(path(1), weight(1))
    with following(etcd, state_file) as (_, view):
        wait_for_watch(etcd)
        etcd.change(path(1), b"{")
        etcd.change(path(2), b"{")
        etcd.change(path(3), weight(3))
        wait_until(lambda: view.weights == {path(1): 1, path(3): 3})
        etcd.send(EtcdError("broken"))
        wait_for_watch(etcd)
    for down in (set(), set(LOCATION.endpoints), set()):
        etcd.down = down
        with following(etcd, state_file) as (_, view):
            wait_until(lambda view=view: view.synced)
            assert view.weights == {path(1): 1, path(3): 3}
            assert path(1) not in view.deleted


def test_copy_that_may_be_out_of_date_puts_removals_in_doubt_until_etcd_responds(etcd, tmp_path, quick, caplog):
    state_file = tmp_path / "config.db"
    etcd.change(path(1), weight(1))
    with following(etcd, state_file) as (_, view):
        view.wait_for(etcd)
    for mark in tmp_path.glob("config.db.*.complete"):
        mark.unlink()  # as a write that fails does
    etcd.down = set(LOCATION.endpoints)
    with following(etcd, state_file) as (_, view):
        view.wait_for(etcd)
        assert view.doubts == ["the last-good copy may be out of date"]
        assert caplog.text.count("copy may be out of date: holding removals until the source responds") == 1
        etcd.down = set()
        wait_until(lambda: view.doubts[1:] == [None])
    etcd.down = set(LOCATION.endpoints)
    with following(etcd, state_file) as (_, view):
        view.wait_for(etcd)
        assert view.doubts == [], "all was written anew"


def test_what_an_invalid_value_was_is_unknown_without_a_copy_until_it_is_valid(etcd, tmp_path, quick):
    etcd.change(path(1), b"{")
    with following(etcd, tmp_path / "config.db") as (_, view):
        view.wait_for_sync()
        assert "values are invalid or unreadable, and what they were is not known, since 20" in view.doubts[0]
    with following(etcd, tmp_path / "config.db") as (_, view):
        view.wait_for_sync()
        assert len(view.doubts) == 1
        etcd.change(path(1), weight(1))
        view.wait_for(etcd)
        assert view.doubts[1:] == [None]
