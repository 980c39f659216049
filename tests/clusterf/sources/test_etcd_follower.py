"""EtcdFollower against an etcd that does at once, and reliably, what a real one does rarely."""

import logging
import sqlite3
import threading
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clusterf.etcd import endpoints, watch_reader
from clusterf.etcd.client import KeyValue, Listing
from clusterf.etcd.errors import EtcdError
from clusterf.etcd.location import EtcdLocation
from clusterf.etcd.watch import Event
from clusterf.lib.backoff import Backoff
from clusterf.sources import etcd_follower
from clusterf.sources.etcd_follower import EtcdFollower
from tests.waiting import wait_until

URL = "etcd://a,b/clusterf"
LOCATION = EtcdLocation(endpoints=("a:2379", "b:2379"), prefix=b"/clusterf/")


class FakeEtcd:
    """Keys with a history; `members` refuse lists, by name, and `refusals` lists are refused by whichever is asked."""

    def __init__(self):
        self.contents: dict[bytes, bytes] = {}
        self.history: list[Event] = []
        self.revision = 1
        self.compacted = 0
        self.refusals = 0
        self.members: set[str] = set()
        self.gives_signs = True
        self.asked = 0
        self.lists: list[str] = []
        self.watched_from: list[int] = []
        self.watches: list[FakeWatch] = []
        self._lock = threading.Lock()

    def change(self, path, value, *, times=1):
        """Put a value, or with None delete; watches hear it so many times."""
        with self._lock:
            self.revision += 1
            if value is None:
                self.contents.pop(path, None)
            else:
                self.contents[path] = value
            self.history.append(Event(path, value, self.revision))
            for watch in self.watches * times:
                watch.say([self.history[-1]])

    def say(self, message):
        """Say this to all who watch; who hears an error watches no more."""
        with self._lock:
            for watch in self.watches:
                watch.say(message)
            if isinstance(message, EtcdError):
                self.watches.clear()

    def list(self, endpoint):
        with self._lock:
            self.lists.append(endpoint)
            if endpoint in self.members:
                raise EtcdError(f"{endpoint}: refused")
            if self.refusals:
                self.refusals -= 1
                raise EtcdError(f"{endpoint}: refused")
            return Listing([KeyValue(*item) for item in self.contents.items()], self.revision)

    def watch(self, revision):
        with self._lock:
            watch = FakeWatch(self)
            self.watched_from.append(revision)
            watch.say([])
            if revision <= self.compacted:
                watch.say(EtcdError("watch: revision compacted", compacted=True))
                return watch
            for event in self.history:
                if event.revision >= revision:
                    watch.say([event])
            self.watches.append(watch)
            return watch


class FakeWatch:
    def __init__(self, etcd):
        self._etcd = etcd
        self._messages: SimpleQueue[list[Event] | EtcdError] = SimpleQueue()
        self.say = self._messages.put

    def __iter__(self):
        while not isinstance(message := self._messages.get(), EtcdError):
            yield message
        raise message

    def request_progress(self):
        self._etcd.asked += 1
        if self._etcd.gives_signs:
            self.say([])

    def cancel(self):
        self.say(EtcdError("cancelled"))


class FakeClient:
    etcd: FakeEtcd

    def __init__(self, location, endpoint, deadline):
        self.endpoint = endpoint
        self.watch = self.etcd.watch

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def list(self):
        return self.etcd.list(self.endpoint)


class View:
    """What a receiver has that knows only what it is told, and what it was told to be gone."""

    def __init__(self):
        self.weights: dict[bytes, int] = {}
        self.gone: list[bytes] = []
        self.synced: list[set[bytes]] = []

    def say(self, news, synced):
        for said in news:
            if said.value is not None:
                self.weights[said.path] = said.value.weight
            elif not said.unchanged:
                self.gone.append(said.path)
                self.weights.pop(said.path, None)
        if synced:
            self.synced.append(set(self.weights))


def path(number):
    return b"services/web/backends/%d" % number


def weight(number):
    return b'{"weight": %d}' % number


def weights(etcd):
    return {path: int(value.split()[1][:-1]) for path, value in etcd.contents.items()}


@contextmanager
def following(etcd, state_file=None, *, backoff=None, interval=300.0):
    """Follow `etcd` in a thread, and yield the follower and what it says."""
    view = View()
    follower = EtcdFollower(URL, LOCATION, state_file, interval, view.say)
    follower._backoff = backoff or Backoff(0.0001, 0.001)
    thread = threading.Thread(target=follower.run)
    thread.start()
    try:
        yield follower, view
    finally:
        follower.stop()
        etcd.say([])  # so that it need not wait to see that
        thread.join(5)
        assert not thread.is_alive()
        assert not [other for other in threading.enumerate() if other.name == "etcd watch"]


@pytest.fixture(autouse=True)
def etcd(monkeypatch):
    monkeypatch.setattr(endpoints, "Client", FakeClient)
    FakeClient.etcd = FakeEtcd()
    return FakeClient.etcd


def wait_for_same(etcd, view):
    wait_until(lambda: view.synced and view.weights == weights(etcd), 5)


def wait_for_watch(etcd):
    wait_until(lambda: etcd.watches)


NUMBERS = st.integers(0, 4)
VALUES = st.integers(0, 9)
STEPS = st.one_of(
    st.tuples(st.just("put"), NUMBERS, VALUES),
    st.tuples(st.just("delete"), NUMBERS),
    st.tuples(st.just("lose"), NUMBERS, VALUES | st.none()),
    st.tuples(st.just("repeat"), NUMBERS, VALUES | st.none()),
    st.tuples(st.just("break")),
    st.tuples(st.just("refuse"), st.integers(1, 4)),
    st.tuples(st.just("compact")),
    st.tuples(st.just("list")),
    st.tuples(st.just("settle")),
)


def take(etcd, follower, view, step):
    """Do one step; return the path that it takes away, if any."""
    match step:
        case "put", number, value:
            etcd.change(path(number), weight(value))
        case "delete", number:
            etcd.change(path(number), None)
        case "lose" | "repeat" as how, number, value:
            times = 0 if how == "lose" else 2
            etcd.change(path(number), None if value is None else weight(value), times=times)
        case ("break",):
            etcd.say(EtcdError("broken"))
        case "refuse", times:
            etcd.refusals = times
            etcd.say(EtcdError("broken"))
        case ("compact",):
            etcd.compacted = etcd.revision
            etcd.say(EtcdError("watch: revision compacted", compacted=True))
        case ("list",):
            follower.reload()
            etcd.say([])
        case ("settle",):
            settle(etcd, follower, view)


def settle(etcd, follower, view):
    etcd.refusals = 0
    follower.reload()
    etcd.say([])
    wait_for_same(etcd, view)


def goes(step):
    """Return the path that a step takes away, if it does."""
    return path(step[1]) if step[0] == "delete" or step[-1] is None else None


@settings(max_examples=60, deadline=None)
@given(before=st.lists(STEPS, max_size=25), after=st.lists(STEPS, max_size=10))
def test_what_is_said_leads_to_what_etcd_has_and_nothing_that_stays_is_said_to_be_gone(before, after):
    etcd = FakeClient.etcd = FakeEtcd()
    lasting = {path(number) for number in range(5)} - {goes(step) for step in before + after}
    for number in range(5):
        etcd.change(path(number), weight(number))
    with TemporaryDirectory() as directory:
        state_file = Path(directory, "config.db")
        with following(etcd, state_file) as (follower, view):
            for step in [*before, ("settle",)]:
                take(etcd, follower, view, step)
            assert not lasting & set(view.gone)
        remembered = weights(etcd)
        etcd.members = set(LOCATION.endpoints)
        with following(etcd, state_file) as (follower, view):
            wait_until(lambda: view.synced)
            assert view.weights == remembered
            for step in after:
                if step[0] != "settle":
                    take(etcd, follower, view, step)
            etcd.members.clear()
            settle(etcd, follower, view)
            assert not lasting & set(view.gone)


def test_what_comes_before_the_end_of_a_watch_is_said(etcd):
    with following(etcd) as (_, view):
        wait_for_watch(etcd)
        etcd.members = set(LOCATION.endpoints)
        watch = etcd.watches[0]
        with etcd._lock:  # so that one batch has both
            etcd.contents[path(1)] = weight(7)
            event = Event(path(1), weight(7), etcd.revision + 1)
            watch.say([event])
            watch.say(EtcdError("broken"))
            etcd.watches.clear()
        wait_for_same(etcd, view)
        etcd.members.clear()
        wait_for_watch(etcd)
        assert view.weights == {path(1): 7}


def test_what_a_watch_says_is_not_lost_however_it_is_cut(etcd, monkeypatch):
    monkeypatch.setattr(watch_reader, "GATHER", 2)
    with following(etcd) as (_, view):
        wait_for_watch(etcd)
        for number in range(2000):
            etcd.change(path(number), weight(number % 9))
            if number % 100 == 0:
                etcd.say(EtcdError("broken"))
        wait_for_same(etcd, view)
        assert view.gone == []


def test_a_list_at_the_interval_mends_what_the_watch_has_missed(etcd):
    etcd.change(path(1), weight(1))
    with following(etcd, interval=0.3) as (_, view):
        wait_for_watch(etcd)
        wait_for_same(etcd, view)
        etcd.change(path(1), None, times=0)
        etcd.change(path(2), weight(2), times=0)
        wait_for_same(etcd, view)
        assert len(etcd.watched_from) == 1


def test_silence_is_noticed_where_signs_of_life_were_given(etcd, monkeypatch, caplog):
    monkeypatch.setattr(watch_reader, "SILENCE", 0.2)
    with following(etcd) as (_, view):
        wait_until(lambda: etcd.asked == 2)
        etcd.gives_signs = False
        etcd.change(path(1), weight(1), times=0)
        wait_for_same(etcd, view)
    assert "watch: timed out" in caplog.text


@pytest.mark.parametrize("meanwhile", [None, weight(2)])
@pytest.mark.parametrize("times", [0, 1])
def test_a_list_sees_that_a_key_is_again_what_it_was(etcd, meanwhile, times):
    etcd.change(path(1), weight(1))
    with following(etcd) as (follower, view):
        wait_for_watch(etcd)
        etcd.change(path(1), meanwhile, times=times)
        if times:
            wait_for_same(etcd, view)
        else:
            settle(etcd, follower, view)
        etcd.change(path(1), weight(1), times=0)
        settle(etcd, follower, view)


def test_what_a_watch_says_that_is_older_than_the_list_is_not_said(etcd):
    etcd.change(path(1), weight(1))
    with following(etcd) as (follower, view):
        wait_for_watch(etcd)
        late = [Event(path(1), None, etcd.revision + 1), Event(path(1), weight(2), etcd.revision + 2)]
        etcd.change(path(1), None, times=0)
        etcd.change(path(1), weight(2), times=0)
        settle(etcd, follower, view)
        for event in late:
            etcd.say([event])
        etcd.change(path(2), weight(3))
        wait_for_same(etcd, view)
        assert view.gone == []


def test_whether_an_etcd_gives_signs_of_life_is_found_out_at_the_beginning(etcd):
    with following(etcd):
        wait_until(lambda: etcd.asked == 1, watch_reader.SILENCE / 2)


def test_silence_is_no_trouble_where_signs_of_life_were_given(etcd, monkeypatch, caplog):
    monkeypatch.setattr(watch_reader, "SILENCE", 0.05)
    with following(etcd, interval=1.5):
        wait_until(lambda: len(etcd.lists) > 1)
    assert len(etcd.watched_from) == 1
    assert caplog.messages == []


def test_an_etcd_that_gives_no_signs_of_life_may_be_silent(etcd, monkeypatch, caplog):
    monkeypatch.setattr(watch_reader, "SILENCE", 0.05)
    etcd.gives_signs = False
    with following(etcd, interval=1.5):
        wait_until(lambda: len(etcd.lists) > 1)
    assert len(etcd.watched_from) == 1
    assert caplog.messages == []


def test_when_the_revision_has_gone_back_what_follows_is_watched_for(etcd):
    etcd.revision = 100
    etcd.change(path(1), weight(1))
    with following(etcd) as (follower, view):
        wait_for_watch(etcd)
        etcd.revision = 5
        etcd.contents, etcd.history = {path(2): weight(2)}, []
        follower.reload()
        wait_until(lambda: etcd.watched_from[1:] == [6])
        etcd.change(path(3), weight(3))
        wait_for_same(etcd, view)


def test_trouble_is_logged_once_for_each_endpoint_and_again_after_a_while(etcd, monkeypatch, caplog):
    monkeypatch.setattr(etcd_follower, "REMINDER", 0.5)
    etcd.members = set(LOCATION.endpoints)
    with following(etcd):
        wait_until(lambda: len(etcd.lists) > 40)
        told = [message for message in caplog.messages if "refused" in message]
        assert sorted(told) == [
            f"{URL}: {endpoint}: refused, reconnecting; keeping the current state" for endpoint in LOCATION.endpoints
        ]
        wait_until(lambda: len([message for message in caplog.messages if "refused" in message]) == 4)
    assert len([message for message in caplog.messages if "no last-good copy" in message]) == 1


def test_all_endpoints_are_tried_in_turn(etcd):
    etcd.members = set(LOCATION.endpoints)
    with following(etcd):
        wait_until(lambda: len(etcd.lists) >= 20)
    assert etcd.lists[0:20:2] == [etcd.lists[0]] * 10
    assert set(etcd.lists[:2]) == set(LOCATION.endpoints)


def test_when_one_endpoint_refuses_the_other_is_taken_at_once(etcd):
    etcd.members = {LOCATION.endpoints[0]}
    with following(etcd, backoff=Backoff(3600, 3600)):
        wait_for_watch(etcd)
    assert etcd.lists[-1] == LOCATION.endpoints[1]


def test_a_watch_that_ends_as_soon_as_it_begins_is_not_tried_again_and_again(etcd):
    etcd.compacted = 1000
    backoff = Backoff(0.0001, 0.001)
    with following(etcd, backoff=backoff):
        wait_until(lambda: len(etcd.lists) >= 20)
        assert backoff.tries >= 9


def test_after_steady_following_the_next_try_comes_soon_and_trouble_is_told_anew(etcd, monkeypatch, caplog):
    monkeypatch.setattr(etcd_follower, "STEADY", 0.0)
    etcd.refusals = 20
    backoff = Backoff(0.0001, 0.001)
    with following(etcd, backoff=backoff):
        for _ in range(2):
            wait_for_watch(etcd)
            etcd.say(EtcdError("broken"))
        wait_for_watch(etcd)
        assert backoff.tries <= 2
    assert len([message for message in caplog.messages if "broken" in message]) == 2


def test_the_copy_tells_its_revision_and_age(etcd, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    with following(etcd, tmp_path / "config.db") as (_, view):
        wait_for_watch(etcd)
        etcd.change(path(1), weight(1))
        wait_for_same(etcd, view)
    etcd.members = set(LOCATION.endpoints)
    with following(etcd, tmp_path / "config.db") as (_, view):
        wait_for_same(etcd, view)
    assert f"{URL}: unreachable, using the last-good copy of revision 2, 0 seconds old" in caplog.text


def test_nothing_is_said_before_etcd_has_answered_or_a_copy_was_found(etcd):
    etcd.members = set(LOCATION.endpoints)
    with following(etcd) as (_, view):
        wait_until(lambda: len(etcd.lists) > 10)
        assert (view.weights, view.synced) == ({}, [])
        etcd.members.clear()
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
def test_a_damaged_copy_is_not_used_and_the_next_one_is_whole(etcd, tmp_path, damage, caplog):
    state_file = tmp_path / "config.db"
    for number in (1, 2):
        etcd.change(path(number), weight(number))
    with following(etcd, state_file) as (_, view):
        wait_for_same(etcd, view)
    with sqlite3.connect(state_file) as db:
        assert db.execute(damage).rowcount == 1
    db.close()

    etcd.members = set(LOCATION.endpoints)
    with following(etcd, state_file) as (_, view):
        wait_until(lambda: len(etcd.lists) > 10)
        assert (view.weights, view.synced) == ({}, [])
        assert "no last-good copy" in caplog.text
        etcd.members.clear()
        wait_for_same(etcd, view)
    etcd.members = set(LOCATION.endpoints)
    with following(etcd, state_file) as (_, view):
        wait_for_same(etcd, view)
        assert len(etcd.lists) > 0


def test_a_value_that_is_no_use_leaves_the_last_good_one_over_outages_and_restarts(etcd, tmp_path):
    state_file = tmp_path / "config.db"
    etcd.change(path(1), weight(1))
    with following(etcd, state_file) as (_, view):
        wait_for_watch(etcd)
        etcd.change(path(1), b"{")
        etcd.change(path(2), b"{")
        etcd.change(path(3), weight(3))
        wait_until(lambda: view.weights == {path(1): 1, path(3): 3})
        etcd.say(EtcdError("broken"))
        wait_for_watch(etcd)
    for members in (set(), set(LOCATION.endpoints), set()):
        etcd.members = members
        with following(etcd, state_file) as (_, view):
            wait_until(lambda view=view: view.synced)
            assert view.weights == {path(1): 1, path(3): 3}
            assert path(1) not in view.gone
