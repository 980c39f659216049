from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clusterf.etcd.transactions import BYTES, OPERATIONS
from clusterf.leases import leased_keys
from clusterf.leases.leased_keys import LeasedKeys, Owner, Transaction, Turn

PATHS = st.sampled_from([b"%d" % number for number in range(4)])
VALUES = st.sampled_from([b"a", b"b"])
SETS = st.dictionaries(PATHS, VALUES)


class FakeStore:
    """The keys in etcd: those on our lease, and those of others."""

    def __init__(self, ours: Mapping[bytes, bytes] = {}, theirs: Mapping[bytes, bytes] = {}) -> None:
        self.theirs = dict(theirs)
        self.ours = {path: value for path, value in ours.items() if path not in theirs}

    def put(self, path: bytes, value: bytes | None) -> None:
        """Set or delete a key as somebody else."""
        self.ours.pop(path, None)
        self.theirs.pop(path, None)
        if value is not None:
            self.theirs[path] = value

    def step(self, keys: LeasedKeys) -> bool:
        """Execute the next step, if there is one; nobody claims what is doubtful."""
        if step := keys.next():
            self.take(keys, step)
        return bool(step or keys.believe())

    def take(self, keys: LeasedKeys, step: Transaction) -> None:
        for path, value in step.puts:
            self.theirs.pop(path, None)
            self.ours[path] = value
        for path in step.deletes:
            self.ours.pop(path, None)
        keys.done(step)

    def finish(self, keys: LeasedKeys) -> None:
        while self.step(keys):
            pass


@given(SETS, SETS, SETS)
def test_steps_lead_to_the_wanted_keys(
    ours: dict[bytes, bytes], theirs: dict[bytes, bytes], wanted: dict[bytes, bytes]
) -> None:
    keys, store = LeasedKeys(), FakeStore(ours, theirs)
    keys.reset_written(store.ours)
    keys.want_only(wanted)
    store.finish(keys)
    assert store.ours == wanted
    assert store.theirs == {path: value for path, value in theirs.items() if path not in wanted}


WANTED = st.tuples(st.just("want"), PATHS, st.none() | VALUES)
THEIRS = st.tuples(st.just("theirs"), PATHS, st.none() | VALUES)


@given(SETS, st.lists(WANTED | THEIRS | st.just(("read",))))
def test_newest_wanted_keys_win_over_steps_under_way(ours: dict[bytes, bytes], events: list[tuple[Any, ...]]) -> None:
    keys, store = LeasedKeys(), FakeStore(ours)
    keys.reset_written(ours)
    keys.want_only(ours)
    wanted = dict(ours)
    for event in events:
        step = keys.next()
        match event:
            case "want", path, value:
                keys.want(path, value)
                wanted.pop(path, None)
                if value is not None:
                    wanted[path] = value
            case "theirs", path, value:
                store.put(path, value)
            case ("read",):
                step = None
                keys.reset_written(store.ours)
        if step:
            store.take(keys, step)
    keys.reset_written(store.ours)
    theirs = dict(store.theirs)
    store.finish(keys)
    assert store.ours == wanted
    assert store.theirs == {path: value for path, value in theirs.items() if path not in wanted}


def test_step_fits_into_a_transaction() -> None:
    keys = LeasedKeys()
    keys.reset_written({b"old%d" % number: b"" for number in range(200)})
    values = {b"new%d" % number: bytes(5000) for number in range(500)} | {b"big": bytes(2 * BYTES)}
    keys.want_only(values)
    operations = []
    assert len(keys.believe()) == 200
    while step := keys.next():
        number = sum(map(len, step))
        assert 0 < number <= OPERATIONS
        assert number == 1 or sum(len(value) for _, value in step.puts) <= BYTES
        operations += [True] * len(step.puts) + [False] * len(step.deletes)
        keys.done(step)
    assert operations == [True] * 501 + [False] * 200


def test_keys_on_the_lease_stay_until_the_wanted_set_is_complete() -> None:
    keys = LeasedKeys()
    keys.want(b"new", b"")
    keys.reset_written({b"old": b"it", b"older": b"it"})
    assert keys.next() == ([(b"new", b"")], [])
    keys.want(b"older", None)
    assert keys.next() == ([(b"new", b"")], [b"older"])
    keys.want_only({b"new": b""})
    assert keys.next() == ([(b"new", b"")], [b"older"])
    assert keys.to_doubt() == (b"old", b"it")
    assert keys.believe() == {b"old": b"it"}
    assert keys.to_doubt() is None
    assert keys.next() == ([(b"new", b"")], [b"older", b"old"])


def written(**more: bytes) -> LeasedKeys:
    """Return keys of which `a` was written, and the others were found."""
    keys = LeasedKeys()
    keys.reset_written({name.encode(): value for name, value in more.items()})
    keys.want(b"a", b"1")
    step = keys.next()
    assert step
    keys.done(step)
    return keys


@pytest.mark.parametrize(
    ("value", "owner", "turn"),
    [
        (None, Owner.NOBODY, Turn.LOST),
        (b"1", Owner.NOBODY, Turn.LOST),
        (b"2", Owner.ANOTHER, Turn.TAKEN),
        (b"1", Owner.ANOTHER, Turn.TAKEN),
        (b"1", Owner.OURS, Turn.SHARED),
    ],
)
def test_change_of_a_wanted_key_is_a_loss_or_to_be_claimed_again(
    value: bytes | None, owner: Owner, turn: Turn | None
) -> None:
    keys = written()
    assert keys.changed(b"a", value, owner) is turn
    assert (keys.next() is None) == (turn is not Turn.TAKEN)
    if turn is not Turn.SHARED:
        keys.lost(b"a")
        assert keys.next() == ([(b"a", b"1")], [])


def test_change_of_a_key_of_nobody_here_means_nothing_unless_it_is_on_our_lease() -> None:
    keys = written()
    assert keys.changed(b"b", b"1", Owner.ANOTHER) is None
    assert keys.changed(b"b", None, Owner.NOBODY) is None
    assert keys.changed(b"b", b"1", Owner.OURS) is Turn.SHARED


def test_doubtful_key_that_moves_is_not_deleted() -> None:
    keys = written(theirs=b"it", gone=b"it")
    keys.want_only({b"a": b"1"})
    assert keys.changed(b"theirs", b"it", Owner.ANOTHER) is Turn.MOVED
    assert keys.changed(b"gone", None, Owner.NOBODY) is None
    assert keys.believe() == {}
    assert keys.next() is None


def test_key_that_was_found_is_wanted_until_the_set_is_complete_once_it_is_lost() -> None:
    keys = written(b=b"1", c=b"1")
    assert keys.changed(b"b", None, Owner.NOBODY) is Turn.LOST
    keys.lost(b"b")
    assert keys.next() == ([(b"b", b"1")], [])
    keys.want_found()
    keys.reset_written()
    assert keys.next() == ([(b"a", b"1"), (b"b", b"1"), (b"c", b"1")], [])
    keys.want_only({b"a": b"1"})
    assert keys.next() == ([(b"a", b"1")], [])


def test_what_is_found_later_and_was_not_written_here_is_told() -> None:
    keys = written()
    keys.want_only({b"a": b"1"})
    assert keys.reset_written({b"a": b"1", b"b": b"1"}) == [b"b"]
    assert keys.reset_written({b"a": b"1", b"b": b"1"}) == []
    keys.want(b"a", None)
    assert keys.next() == ([], [b"a"])


def test_paths_that_were_published_once_are_forgotten_at_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leased_keys, "REMEMBERED", 10)
    keys = LeasedKeys()
    for number in range(100):
        keys.want_only({b"%d" % number: b""})
        while step := keys.next():
            keys.done(step)
    assert len(keys._own) < 20
