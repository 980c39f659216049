"""clusterf.etcd.leased_keys by its laws, and KeyPublisher against a real etcd."""

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any, Self

import pykka
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.base.messages import Leave, Reload
from actors.docker.key_publisher import KeyPublisher, Publish, PublishOnly
from clusterf.etcd.client import Client
from clusterf.etcd.errors import EtcdError
from clusterf.etcd.leased_keys import LeasedKeys, Transaction
from clusterf.etcd.transactions import BYTES, OPERATIONS
from tests.lab.etcd import EtcdCluster
from tests.processes import started
from tests.waiting import wait_until

TTL = 2  # seconds
KEYS = {b"services/web/backends/%d" % number: b'{"weight": %d}' % number for number in range(3)}
OTHERS = {b"services/web/backends/other": b"{}", b"services/web/frontend": b'{"ipv4": "10.0.0.1", "tcp": 80}'}

PATHS = st.sampled_from([b"%d" % number for number in range(4)])
VALUES = st.sampled_from([b"a", b"b"])
SETS = st.dictionaries(PATHS, VALUES)
CHECK = b"services/web/health"


class Store:
    """What etcd would have: keys on our lease, and keys of others."""

    def __init__(self, ours: Mapping[bytes, bytes] = {}, theirs: Mapping[bytes, bytes] = {}) -> None:
        self.theirs = dict(theirs)
        self.ours = {path: value for path, value in ours.items() if path not in theirs}

    def put(self, path: bytes, value: bytes | None) -> None:
        """Somebody else sets or deletes a key."""
        self.ours.pop(path, None)
        self.theirs.pop(path, None)
        if value is not None:
            self.theirs[path] = value

    def step(self, keys: LeasedKeys) -> bool:
        """Take the next step, if there is one."""
        if step := keys.next():
            self.take(keys, step)
        return bool(step)

    def take(self, keys: LeasedKeys, step: Transaction) -> None:
        refused = {path for path, _ in step.claims if path in self.theirs}
        for path, value in [*step.puts, *step.claims]:
            if path not in refused:
                self.theirs.pop(path, None)
                self.ours[path] = value
        for path in step.deletes:
            self.ours.pop(path, None)
        keys.done(step, refused)

    def finish(self, keys: LeasedKeys) -> None:
        while self.step(keys):
            pass


def at_the_end(
    theirs: Mapping[bytes, bytes], wanted: Mapping[bytes, bytes], claims: Mapping[bytes, bytes]
) -> dict[bytes, bytes]:
    """Return which keys are to be ours."""
    return {**{path: value for path, value in claims.items() if path not in theirs}, **wanted}


@given(SETS, SETS, SETS, SETS)
def test_the_steps_make_what_is_there_what_is_wanted(
    ours: dict[bytes, bytes], theirs: dict[bytes, bytes], wanted: dict[bytes, bytes], claims: dict[bytes, bytes]
) -> None:
    keys, store = LeasedKeys(), Store(ours, theirs)
    keys.reset_written(store.ours)
    keys.want_only(wanted, claims)
    store.finish(keys)
    assert store.ours == at_the_end(theirs, wanted, claims)
    assert store.theirs == {path: value for path, value in theirs.items() if path not in wanted}


WANTED = st.tuples(st.just("want"), PATHS, st.none() | VALUES, st.booleans())
THEIRS = st.tuples(st.just("theirs"), PATHS, st.none() | VALUES)


@given(SETS, st.lists(WANTED | THEIRS | st.just(("look",)) | st.just(("ask",))))
def test_whatever_happens_while_steps_are_under_way_the_newest_counts(
    ours: dict[bytes, bytes], happenings: list[tuple[Any, ...]]
) -> None:
    keys, store = LeasedKeys(), Store(ours)
    keys.reset_written(ours)
    keys.want_only(ours)
    wanted, claims = dict(ours), dict[bytes, bytes]()
    for happening in happenings:
        step = keys.next()
        match happening:
            case "want", path, value, if_absent:
                keys.want(path, value, if_absent=if_absent)
                wanted.pop(path, None)
                claims.pop(path, None)
                if value is not None:
                    (claims if if_absent else wanted)[path] = value
            case "theirs", path, value:
                store.put(path, value)
            case ("ask",):
                keys.retry_claims(keys.refused - store.theirs.keys())
            case ("look",):
                step = None
                keys.reset_written(store.ours)
        if step:
            store.take(keys, step)
    keys.reset_written(store.ours)
    theirs = dict(store.theirs)
    store.finish(keys)
    assert store.ours == at_the_end(theirs, wanted, claims)
    assert store.theirs == {path: value for path, value in theirs.items() if path not in wanted}


def test_a_claim_that_is_refused_waits_until_it_is_given_up() -> None:
    keys = LeasedKeys()
    keys.want(b"check", b"1", if_absent=True)
    step = keys.next()
    assert step == ([], [], [(b"check", b"1")])
    keys.done(step, {b"check"})
    keys.want(b"check", b"2", if_absent=True)
    assert keys.next() is None
    assert keys.refused == {b"check"}
    keys.retry_claims([b"check"])
    assert keys.next() == ([], [], [(b"check", b"2")])
    assert not keys.refused


@pytest.mark.parametrize("refused", [{b"key"}, set()])
def test_what_is_claimed_and_then_wanted_in_any_case_is_set(refused: set[bytes]) -> None:
    for want in (lambda keys: keys.want(b"key", b"2"), lambda keys: keys.want_only({b"key": b"2"}, {b"key": b"3"})):
        keys = LeasedKeys()
        keys.want(b"key", b"1", if_absent=True)
        keys.done(keys.next(), refused)
        want(keys)
        assert keys.next() == ([(b"key", b"2")], [], [])
        assert not keys.refused


def test_a_step_is_no_more_than_etcd_takes() -> None:
    keys = LeasedKeys()
    keys.reset_written({b"old%d" % number: b"" for number in range(200)})
    values = {b"new%d" % number: bytes(5000) for number in range(500)} | {b"big": bytes(2 * BYTES)}
    keys.want_only(values, {b"claim%d" % number: bytes(5000) for number in range(200)})
    operations = []
    while step := keys.next():
        number = sum(map(len, step))
        assert 0 < number <= OPERATIONS
        assert number == 1 or sum(len(value) for _, value in [*step.puts, *step.claims]) <= BYTES
        operations += [True] * (len(step.puts) + len(step.claims)) + [False] * len(step.deletes)
        keys.done(step)
    assert operations == [True] * 701 + [False] * 200


def test_claims_come_before_all_else_that_is_wanted() -> None:
    claims = {b"check%d" % number: b"" for number in range(20)}
    keys = LeasedKeys()
    keys.want_only({b"backend%d" % number: b"" for number in range(1000)}, claims)
    step = keys.next()
    assert step is not None
    assert dict(step.claims) == claims


def test_what_is_on_the_lease_stays_until_all_that_is_wanted_is_known() -> None:
    keys = LeasedKeys()
    keys.want(b"new", b"")
    keys.reset_written({b"old": b"", b"older": b""})
    assert keys.next() == ([(b"new", b"")], [], [])
    keys.want(b"older", None)
    assert keys.next() == ([(b"new", b"")], [b"older"], [])
    keys.want_only({b"new": b""})
    assert keys.next() == ([(b"new", b"")], [b"older", b"old"], [])


@pytest.fixture
def etcd(tmp_path: Path) -> Iterator[EtcdCluster]:
    with EtcdCluster(tmp_path / "etcd") as cluster:
        yield cluster


@contextmanager
def publisher(cluster: EtcdCluster, lease_file: Path | None = None, ttl: int = TTL) -> Iterator[pykka.ActorRef[Any]]:
    """A publisher that lives until the `with` ends, and leaves its keys alone then."""
    ref = KeyPublisher.start(cluster.location(), ttl, lease_file, leave_nothing=True)
    try:
        yield ref
    finally:
        with suppress(pykka.ActorDeadError):
            ref.stop(timeout=20)


def there(cluster: EtcdCluster) -> dict[bytes, bytes]:
    """Return all keys below the prefix; fails the wait, not the test, while etcd is away."""
    try:
        with Client(cluster.location(), cluster.endpoints[0], 1) as client:
            return dict(client.list().items)
    except EtcdError as error:
        return {b"error": str(error).encode()}


def wait_for(cluster: EtcdCluster, keys: Mapping[bytes, bytes], timeout: float = 20) -> None:
    with suppress(AssertionError):
        wait_until(lambda: there(cluster) == keys, timeout)
        return
    assert there(cluster) == keys


def leases(cluster: EtcdCluster) -> list[int]:
    return [int(lease, 16) for lease in cluster.ctl("lease", "list").split()[3:]]


def let_a_lease_run_out(cluster: EtcdCluster, ttl: int) -> None:
    """Wait until etcd has ended a lease that it grants now."""
    with Client(cluster.location(), cluster.endpoints[0]) as client:
        lease = client.grant(ttl)
    wait_until(lambda: lease not in leases(cluster), 2 * ttl + 5)


def put_others(cluster: EtcdCluster) -> None:
    with Client(cluster.location(), cluster.endpoints[0]) as client:
        client.transact(list(OTHERS.items())[:1], [], client.grant(600))
        client.transact(list(OTHERS.items())[1:], [])


class Witness:
    """Sees each change below the prefix while the `with` lasts."""

    def __init__(self, cluster: EtcdCluster) -> None:
        self._client = Client(cluster.location(), cluster.endpoints[0])
        self.puts: list[bytes] = []
        self.deletes: list[bytes] = []

    def __enter__(self) -> Self:
        self._watch = self._client.watch(self._client.list().revision + 1)
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        last = b"the last that the witness sees"
        self._client.transact([(last, b"")], [])
        wait_until(lambda: last in self.puts)
        self._watch.cancel()
        self._thread.join()
        self._client.transact([], [last])
        self._client.close()
        self.puts.remove(last)

    def _run(self) -> None:
        with suppress(EtcdError):
            for events in self._watch:
                for path, value, _ in events:
                    (self.deletes if value is None else self.puts).append(path)


def test_a_set_is_published_changed_and_removed(etcd: EtcdCluster, tmp_path: Path) -> None:
    put_others(etcd)
    with publisher(etcd) as ref:
        ref.tell(PublishOnly(KEYS))
        wait_for(etcd, OTHERS | KEYS)
        one, two, three = KEYS
        with Witness(etcd) as witness:
            ref.tell(Publish(one, b"changed"))
            ref.tell(Publish(two, None))
            ref.tell(Publish(b"services/api/backends/1", b"new"))
            ref.tell(Publish(b"services/api/backends/2", None))
            changed = {one: b"changed", three: KEYS[three], b"services/api/backends/1": b"new"}
            wait_for(etcd, OTHERS | changed)
        assert sorted(witness.puts) == [b"services/api/backends/1", one]
        assert witness.deletes == [two]
        ref.tell(PublishOnly({}))
        wait_for(etcd, OTHERS)


def test_what_is_told_faster_than_etcd_takes_it_is_not_all_written(etcd: EtcdCluster) -> None:
    with publisher(etcd) as ref, Witness(etcd) as witness:
        for number in range(5000):
            ref.tell(Publish(b"key", b"%d" % number))
        wait_for(etcd, {b"key": b"4999"})
    assert len(witness.puts) < 4000


def test_leaving_removes_all_keys_at_once_and_nothing_is_published_afterwards(etcd: EtcdCluster) -> None:
    put_others(etcd)
    with publisher(etcd, ttl=600) as ref:
        ref.tell(PublishOnly(KEYS))
        wait_for(etcd, OTHERS | KEYS)
        ref.tell(Leave())
        wait_for(etcd, OTHERS)
        assert len(leases(etcd)) == 1  # that of the others
        ref.tell(Publish(b"key", b"value"))
        ref.tell(PublishOnly(KEYS))
    assert there(etcd) == OTHERS


def test_publisher_that_leaves_and_is_stopped_removes_its_keys(etcd: EtcdCluster, tmp_path: Path) -> None:
    with publisher(etcd, tmp_path / "lease", ttl=600) as ref:
        ref.tell(PublishOnly(KEYS))
        wait_for(etcd, KEYS)
    ref = KeyPublisher.start(etcd.location(), 600, tmp_path / "lease", leave_nothing=True)
    ref.tell(Leave())
    ref.stop(timeout=20)
    assert there(etcd) == {}
    assert leases(etcd) == []


def test_publisher_that_leaves_while_etcd_is_away_stops(etcd: EtcdCluster, tmp_path: Path) -> None:
    with publisher(etcd, tmp_path / "lease", ttl=600) as ref:
        ref.tell(PublishOnly(KEYS))
        wait_for(etcd, KEYS)
        etcd.kill()
        ref.tell(Leave())
        ref.stop(timeout=20)
    assert not ref.is_alive()


def test_keys_last_while_the_publisher_lives_and_the_ttl_longer(etcd: EtcdCluster) -> None:
    put_others(etcd)
    with publisher(etcd) as ref, Witness(etcd) as witness:
        ref.tell(PublishOnly(KEYS))
        wait_for(etcd, OTHERS | KEYS)
        let_a_lease_run_out(etcd, 2 * TTL)
    assert not witness.deletes
    assert len(witness.puts) == len(KEYS)
    stopped = time.monotonic()
    assert there(etcd) == OTHERS | KEYS
    wait_for(etcd, OTHERS)
    assert time.monotonic() - stopped > TTL / 2


SCRIPT = """
import sys
from pathlib import Path
from actors.docker.key_publisher import KeyPublisher, PublishOnly
from clusterf.etcd.location import EtcdCredentials, parse_location
ref = KeyPublisher.start(parse_location(sys.argv[1], EtcdCredentials()), int(sys.argv[2]), Path(sys.argv[3]))
ref.tell(PublishOnly({key.encode(): b"of a process" for key in sys.argv[4:]}))
"""


def process(
    cluster: EtcdCluster, lease_file: Path, *keys: str, ttl: int = TTL
) -> AbstractContextManager[subprocess.Popen[bytes]]:
    command = [sys.executable, "-c", SCRIPT, cluster.url(), str(ttl), str(lease_file), *keys]
    return started(command, env=os.environ | {"PYTHONPATH": str(Path.cwd())})


def test_the_keys_of_a_publisher_that_is_killed_go_after_the_ttl(etcd: EtcdCluster, tmp_path: Path) -> None:
    put_others(etcd)
    with process(etcd, tmp_path / "lease", "a", "b") as child:
        wait_for(etcd, OTHERS | {b"a": b"of a process", b"b": b"of a process"})
        child.send_signal(signal.SIGKILL)
        wait_for(etcd, OTHERS)


def test_who_starts_again_within_the_ttl_takes_over_without_a_gap(etcd: EtcdCluster, tmp_path: Path) -> None:
    put_others(etcd)
    file, ttl = tmp_path / "lease", 6
    with process(etcd, file, "stays", "changes", "goes", ttl=ttl) as child:
        wait_for(etcd, OTHERS | dict.fromkeys([b"stays", b"changes", b"goes"], b"of a process"))
        before = leases(etcd)
        with Witness(etcd) as witness:
            child.kill()
            child.wait()
            with publisher(etcd, file, ttl) as ref:
                ref.tell(Publish(b"changes", b"now"))
                wait_until(lambda: b"changes" in witness.puts)
                assert not witness.deletes  # what is wanted is not all known yet
                ref.tell(PublishOnly({b"stays": b"of a process", b"changes": b"now"}))
                wait_for(etcd, OTHERS | {b"stays": b"of a process", b"changes": b"now"})
                assert leases(etcd) == before
        assert witness.puts == [b"changes"]
        assert witness.deletes == [b"goes"]


@pytest.mark.parametrize(
    "content", ["", "{}", "garbage", '{"id": 99999999999999999999999, "ttl": 2, "prefix": ""}', "\xff"]
)
def test_a_lease_file_that_is_no_use_is_as_none(etcd: EtcdCluster, tmp_path: Path, content: str) -> None:
    file = tmp_path / "lease"
    file.write_bytes(content.encode("latin-1"))
    with publisher(etcd, file) as ref:
        ref.tell(PublishOnly(KEYS))
        wait_for(etcd, KEYS)


def test_a_lease_file_that_cannot_be_written_does_not_matter(etcd: EtcdCluster, tmp_path: Path) -> None:
    with publisher(etcd, tmp_path / "missing" / "lease") as ref:
        ref.tell(PublishOnly(KEYS))
        wait_for(etcd, KEYS)


def test_a_lease_of_another_ttl_is_left_to_run_out_without_a_gap(etcd: EtcdCluster, tmp_path: Path) -> None:
    file = tmp_path / "lease"
    with publisher(etcd, file) as ref:
        ref.tell(PublishOnly({b"stays": b"1", b"goes": b"1"}))
        wait_for(etcd, {b"stays": b"1", b"goes": b"1"})
    with Witness(etcd) as witness, publisher(etcd, file, ttl=10) as ref:
        ref.tell(PublishOnly({b"stays": b"1"}))
        wait_for(etcd, {b"stays": b"1"})
    assert witness.deletes == [b"goes"]


def test_when_the_lease_is_revoked_all_keys_come_back(etcd: EtcdCluster) -> None:
    put_others(etcd)
    with publisher(etcd) as ref:
        ref.tell(PublishOnly(KEYS))
        wait_for(etcd, OTHERS | KEYS)
        revoke(etcd, KEYS)
        wait_for(etcd, OTHERS | KEYS)
        revoke(etcd, KEYS)
        ref.tell(Publish(b"new", b"1"))  # is told before the loss is noticed
        wait_for(etcd, OTHERS | KEYS | {b"new": b"1"})


def revoke(cluster: EtcdCluster, keys: Mapping[bytes, bytes]) -> None:
    """Revoke the lease on which these keys are."""
    with Client(cluster.location(), cluster.endpoints[0]) as client:
        client.revoke(next(lease for lease in leases(cluster) if client.leased(lease) == keys))


def test_what_others_do_to_our_keys_is_mended_at_a_look(etcd: EtcdCluster) -> None:
    put_others(etcd)
    one, two, three = KEYS
    with publisher(etcd, ttl=600) as ref:
        ref.tell(PublishOnly(KEYS))
        wait_for(etcd, OTHERS | KEYS)
        with Client(etcd.location(), etcd.endpoints[0]) as client:
            client.transact([(one, b"theirs"), (two, b"theirs")], [three])
            ref.tell(Publish(two, None))  # it hangs on our lease no more
            ref.tell(Publish(b"new", b"1"))
            wait_for(etcd, OTHERS | {one: b"theirs", two: b"theirs", b"new": b"1"})
        ref.tell(Reload())
        wait_for(etcd, OTHERS | {one: KEYS[one], two: b"theirs", three: KEYS[three], b"new": b"1"})


def test_two_nodes_publish_keys_of_one_service_side_by_side(etcd: EtcdCluster) -> None:
    mine, yours = {b"services/web/backends/a": b"1"}, {b"services/web/backends/b": b"2"}
    with publisher(etcd) as one:
        with publisher(etcd) as other:
            one.tell(PublishOnly(mine))
            other.tell(PublishOnly(yours))
            wait_for(etcd, mine | yours)
            one.tell(PublishOnly({}))
            wait_for(etcd, yours)
            one.tell(PublishOnly(mine))
            wait_for(etcd, mine | yours)
        wait_for(etcd, mine)


def test_a_key_that_two_nodes_publish_outlives_the_one_that_lets_it_go(etcd: EtcdCluster) -> None:
    with publisher(etcd) as one, publisher(etcd) as other:
        one.tell(PublishOnly({b"routes/net": b"1", b"one": b""}))
        wait_for(etcd, {b"routes/net": b"1", b"one": b""})
        other.tell(PublishOnly({b"routes/net": b"1", b"other": b""}))
        wait_for(etcd, {b"routes/net": b"1", b"one": b"", b"other": b""})
        one.tell(PublishOnly({}))
        wait_for(etcd, {b"routes/net": b"1", b"other": b""})


def put(cluster: EtcdCluster, path: bytes, value: bytes | None) -> None:
    """Set or delete a key as an operator would."""
    with Client(cluster.location(), cluster.endpoints[0]) as client:
        client.transact([(path, value)] if value is not None else [], [] if value is not None else [path])


def test_what_is_published_if_absent_comes_changes_and_goes(etcd: EtcdCluster) -> None:
    with publisher(etcd) as ref:
        ref.tell(PublishOnly(KEYS, {CHECK: b"1"}))
        wait_for(etcd, KEYS | {CHECK: b"1"})
        with Witness(etcd) as witness:
            ref.tell(Publish(CHECK, b"2", if_absent=True))
            wait_for(etcd, KEYS | {CHECK: b"2"})
            ref.tell(PublishOnly(KEYS, {CHECK: b"3"}))
            wait_for(etcd, KEYS | {CHECK: b"3"})
        assert (witness.puts, witness.deletes) == ([CHECK, CHECK], [])
        ref.tell(PublishOnly(KEYS))
        wait_for(etcd, KEYS)
        ref.tell(Publish(CHECK, b"4", if_absent=True))
        wait_for(etcd, KEYS | {CHECK: b"4"})
    wait_for(etcd, {})  # it hung on the lease


def test_what_somebody_else_has_published_is_never_touched(etcd: EtcdCluster) -> None:
    put(etcd, CHECK, b"theirs")
    with publisher(etcd) as ref, Witness(etcd) as witness:
        ref.tell(PublishOnly(KEYS, {CHECK: b"ours"}))
        wait_for(etcd, KEYS | {CHECK: b"theirs"})
        ref.tell(Reload())
        ref.tell(Publish(CHECK, b"ours, changed", if_absent=True))
        ref.tell(Publish(b"key", b"later"))
        wait_for(etcd, KEYS | {CHECK: b"theirs", b"key": b"later"})
        let_a_lease_run_out(etcd, TTL)  # so that ours has been kept alive
        ref.tell(Publish(CHECK, None))
        ref.tell(Publish(b"key", None))
        wait_for(etcd, KEYS | {CHECK: b"theirs"})
        ref.tell(Publish(CHECK, b"ours", if_absent=True))
        ref.tell(Leave())
        wait_for(etcd, {CHECK: b"theirs"})
    assert CHECK not in [*witness.puts, *witness.deletes]


def test_when_an_operator_deletes_theirs_ours_comes(etcd: EtcdCluster) -> None:
    put(etcd, CHECK, b"theirs")
    with publisher(etcd) as ref:
        ref.tell(PublishOnly(KEYS, {CHECK: b"ours"}))
        wait_for(etcd, KEYS | {CHECK: b"theirs"})
        put(etcd, CHECK, None)
        wait_for(etcd, KEYS | {CHECK: b"ours"}, timeout=TTL + 3)


def test_when_theirs_goes_ours_comes_also_where_nothing_else_is_published(etcd: EtcdCluster) -> None:
    put(etcd, CHECK, b"theirs")
    with publisher(etcd) as ref:
        ref.tell(PublishOnly({}, {CHECK: b"ours"}))
        wait_until(lambda: leases(etcd))
        revoke(etcd, {})
        wait_until(lambda: not leases(etcd))
        wait_until(lambda: leases(etcd))  # a new one
        put(etcd, CHECK, None)
        wait_for(etcd, {CHECK: b"ours"}, timeout=TTL + 3)


def test_what_an_operator_writes_over_ours_stays(etcd: EtcdCluster) -> None:
    with publisher(etcd) as ref:
        ref.tell(PublishOnly(KEYS, {CHECK: b"ours"}))
        wait_for(etcd, KEYS | {CHECK: b"ours"})
        with Witness(etcd) as witness:
            put(etcd, CHECK, b"theirs")
            ref.tell(Publish(CHECK, b"ours, changed before anybody looked", if_absent=True))
            ref.tell(Publish(b"key", b"later"))
            wait_for(etcd, KEYS | {CHECK: b"theirs", b"key": b"later"})
            ref.tell(Reload())
            ref.tell(Publish(b"key", None))
            wait_for(etcd, KEYS | {CHECK: b"theirs"})
            ref.tell(Leave())
            wait_for(etcd, {CHECK: b"theirs"})
    assert witness.puts.count(CHECK) == 1
    assert CHECK not in witness.deletes


def test_what_an_operator_has_written_over_ours_stays_when_ours_is_not_wanted_any_more(etcd: EtcdCluster) -> None:
    with publisher(etcd) as ref:
        ref.tell(PublishOnly(KEYS, {CHECK: b"ours"}))
        wait_for(etcd, KEYS | {CHECK: b"ours"})
        put(etcd, CHECK, b"theirs")
        ref.tell(PublishOnly({}))
        wait_for(etcd, {CHECK: b"theirs"})


def test_of_two_who_would_publish_the_second_takes_over_when_the_first_dies(etcd: EtcdCluster, tmp_path: Path) -> None:
    with publisher(etcd) as second:
        with publisher(etcd) as first:
            first.tell(PublishOnly({}, {CHECK: b"of the first"}))
            wait_for(etcd, {CHECK: b"of the first"})
            second.tell(PublishOnly(KEYS, {CHECK: b"of the second"}))
            wait_for(etcd, KEYS | {CHECK: b"of the first"})
            let_a_lease_run_out(etcd, 2 * TTL)
            assert there(etcd) == KEYS | {CHECK: b"of the first"}
        wait_for(etcd, KEYS | {CHECK: b"of the second"})


def test_who_starts_again_within_the_ttl_keeps_what_it_had_published_if_absent(
    etcd: EtcdCluster, tmp_path: Path
) -> None:
    file = tmp_path / "lease"
    with publisher(etcd, file, ttl=10) as ref:
        ref.tell(PublishOnly(KEYS, {CHECK: b"1"}))
        wait_for(etcd, KEYS | {CHECK: b"1"})
    with Witness(etcd) as witness, publisher(etcd, file, ttl=10) as ref:
        ref.tell(PublishOnly(KEYS, {CHECK: b"2"}))
        wait_for(etcd, KEYS | {CHECK: b"2"})
    assert (witness.puts, witness.deletes) == ([CHECK], [])


def test_etcd_killed_and_back_again_has_all_keys(etcd: EtcdCluster) -> None:
    put_others(etcd)
    with publisher(etcd) as ref:
        ref.tell(PublishOnly(KEYS))
        wait_for(etcd, OTHERS | KEYS)
        one, two, three = KEYS
        etcd.kill()
        ref.tell(Publish(one, None))
        ref.tell(Publish(two, b"while it was away"))
        etcd.start()
        wait_for(etcd, OTHERS | {two: b"while it was away", three: KEYS[three]})


def test_etcd_frozen_for_longer_than_the_ttl_has_all_keys(etcd: EtcdCluster, caplog: pytest.LogCaptureFixture) -> None:
    put_others(etcd)
    with publisher(etcd) as ref, caplog.at_level(logging.WARNING):
        ref.tell(PublishOnly(KEYS))
        wait_for(etcd, OTHERS | KEYS)
        etcd.members[0].freeze()
        began = time.monotonic()
        ref.tell(Publish(b"new", b"1"))
        wait_until(lambda: time.monotonic() - began > 2 * TTL and "deadline" in caplog.text)
        etcd.members[0].thaw()
        wait_for(etcd, OTHERS | KEYS | {b"new": b"1"})


def test_etcd_restored_from_nothing_has_all_keys(etcd: EtcdCluster) -> None:
    with publisher(etcd) as ref:
        ref.tell(PublishOnly(KEYS))
        wait_for(etcd, KEYS)
        etcd.kill()
        etcd.start(wipe=True)
        wait_for(etcd, KEYS)


def test_etcd_that_comes_late_gets_all_keys(etcd: EtcdCluster) -> None:
    etcd.kill()
    with publisher(etcd) as ref:
        ref.tell(PublishOnly(KEYS))
        etcd.start()
        wait_for(etcd, KEYS)


def test_one_member_after_the_other_may_go(tmp_path: Path) -> None:
    with (
        EtcdCluster(tmp_path / "etcd", members=3) as cluster,
        publisher(cluster, ttl=10) as ref,
        Witness(cluster) as witness,
    ):
        ref.tell(PublishOnly(KEYS))
        wait_for(cluster, KEYS)
        for member in cluster.members[1:]:
            member.kill()
            ref.tell(Publish(b"new", member.name.encode()))
            wait_for(cluster, KEYS | {b"new": member.name.encode()})
            member.launch()
            cluster.wait_for(member)
    assert not witness.deletes


def test_a_token_that_expires_is_renewed(tmp_path: Path) -> None:
    with EtcdCluster(tmp_path / "etcd", auth=True, token_ttl=1) as cluster, publisher(cluster, ttl=600) as ref:
        ref.tell(PublishOnly(KEYS))
        wait_for(cluster, KEYS)
        let_a_lease_run_out(cluster, 3)
        ref.tell(Publish(b"new", b"1"))
        wait_for(cluster, KEYS | {b"new": b"1"})
        ref.tell(Leave())
        wait_for(cluster, {})


def test_five_thousand_keys_are_published_changed_and_lost_and_back(etcd: EtcdCluster) -> None:
    keys = {b"services/web/backends/%064d" % number: b'{"ipv4": "10.0.0.1", "tcp": 80}' for number in range(5000)}
    with publisher(etcd) as ref:
        took = {}

        def timed(what: str, act: Callable[[], object], wanted: Mapping[bytes, bytes]) -> None:
            began = time.monotonic()
            act()
            wait_for(etcd, wanted)
            took[what] = time.monotonic() - began

        timed("publish", lambda: ref.tell(PublishOnly(keys)), keys)
        timed("one key", lambda: ref.tell(Publish(b"one", b"1")), keys | {b"one": b"1"})
        keys |= {b"one": b"1"}
        timed("revoke", lambda: revoke(etcd, keys), keys)
        timed("remove", lambda: ref.tell(PublishOnly({})), {})
    print({what: round(seconds, 2) for what, seconds in took.items()})
