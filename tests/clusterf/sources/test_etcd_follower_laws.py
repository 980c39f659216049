"""EtcdFollower by its law, with an etcd in memory."""

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clusterf.etcd.errors import EtcdError
from tests.clusterf.support.fake_etcd import (
    LOCATION,
    FakeClient,
    FakeEtcd,
    following,
    path,
    settle,
    weight,
    weights,
)
from tests.examples import examples

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
    """Do one step."""
    match step:
        case "put", number, value:
            etcd.change(path(number), weight(value))
        case "delete", number:
            etcd.change(path(number), None)
        case "lose" | "repeat" as how, number, value:
            times = 0 if how == "lose" else 2
            etcd.change(path(number), None if value is None else weight(value), times=times)
        case ("break",):
            etcd.send(EtcdError("broken"))
        case "refuse", times:
            etcd.refusals = times
            etcd.send(EtcdError("broken"))
        case ("compact",):
            etcd.compacted = etcd.revision
            etcd.send(EtcdError("watch: revision compacted", compacted=True))
        case ("list",):
            follower.reload()
            etcd.send([])
        case ("settle",):
            settle(etcd, follower, view)


def deleted(step):
    """Return the path that a step deletes, if it deletes one."""
    return path(step[1]) if step[0] == "delete" or step[-1] is None else None


@pytest.mark.usefixtures("quick")
@settings(max_examples=examples(60), suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(before=st.lists(STEPS, max_size=25), after=st.lists(STEPS, max_size=10))
def test_updates_lead_to_the_state_of_etcd_and_delete_no_key_that_stays(before, after):
    etcd = FakeClient.etcd = FakeEtcd()
    lasting = {path(number) for number in range(5)} - {deleted(step) for step in before + after}
    for number in range(5):
        etcd.change(path(number), weight(number))
    with TemporaryDirectory() as directory:
        state_file = Path(directory, "config.db")
        with following(etcd, state_file) as (follower, view):
            for step in [*before, ("settle",)]:
                take(etcd, follower, view, step)
            assert not lasting & set(view.deleted)
            assert view.doubts == []
        remembered = weights(etcd)
        etcd.down = set(LOCATION.endpoints)
        with following(etcd, state_file) as (follower, view):
            view.wait_for_sync()
            assert view.weights == remembered
            for step in after:
                if step[0] != "settle":
                    take(etcd, follower, view, step)
            etcd.down.clear()
            settle(etcd, follower, view)
            assert not lasting & set(view.deleted)
            assert view.doubts == []
