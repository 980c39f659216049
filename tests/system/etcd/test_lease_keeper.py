"""KeyPublisher and its LeaseKeeper with a real etcd."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from actors.base.messages import Leave
from actors.docker.key_publisher import KeyPublisher, Publish, PublishOnly
from clusterf.etcd.client import Client
from tests.lab.etcd import EtcdCluster
from tests.processes import started
from tests.system.support.publisher import (
    KEYS,
    OTHERS,
    TTL,
    Witness,
    expire_a_lease,
    keys_in,
    leases,
    publisher,
    put_others,
    revoke,
    wait_for,
)
from tests.waiting import wait_until

pytestmark = pytest.mark.usefixtures("emptied")


def test_keys_are_published_changed_and_removed(etcd: EtcdCluster, tmp_path: Path) -> None:
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


def test_fast_changes_of_a_key_are_conflated(etcd: EtcdCluster) -> None:
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
    assert keys_in(etcd) == OTHERS


def test_publisher_that_leaves_and_is_stopped_removes_its_keys(etcd: EtcdCluster, tmp_path: Path) -> None:
    with publisher(etcd, tmp_path / "lease", ttl=600) as ref:
        ref.tell(PublishOnly(KEYS))
        wait_for(etcd, KEYS)
    ref = KeyPublisher.start(etcd.location(), 600, tmp_path / "lease", leave_nothing=True)
    ref.tell(Leave())
    ref.stop(timeout=20)
    assert keys_in(etcd) == {}
    assert leases(etcd) == []


def test_publisher_that_leaves_while_etcd_is_down_stops(etcd: EtcdCluster, tmp_path: Path) -> None:
    with publisher(etcd, tmp_path / "lease", ttl=600) as ref:
        ref.tell(PublishOnly(KEYS))
        wait_for(etcd, KEYS)
        etcd.kill()
        ref.tell(Leave())
        ref.stop(timeout=20)
    assert not ref.is_alive()


def test_keys_are_kept_while_the_publisher_lives_and_expire_after_the_ttl(etcd: EtcdCluster) -> None:
    put_others(etcd)
    with publisher(etcd) as ref, Witness(etcd) as witness:
        ref.tell(PublishOnly(KEYS))
        wait_for(etcd, OTHERS | KEYS)
        expire_a_lease(etcd, TTL + 1)
    assert not witness.deletes
    assert len(witness.puts) == len(KEYS)
    stopped = time.monotonic()
    assert keys_in(etcd) == OTHERS | KEYS
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


def test_keys_of_a_killed_publisher_expire(etcd: EtcdCluster, tmp_path: Path) -> None:
    put_others(etcd)
    with process(etcd, tmp_path / "lease", "a", "b") as child:
        wait_for(etcd, OTHERS | {b"a": b"of a process", b"b": b"of a process"})
        child.send_signal(signal.SIGKILL)
        wait_for(etcd, OTHERS)


def test_restart_within_the_ttl_takes_the_lease_over_without_a_gap(etcd: EtcdCluster, tmp_path: Path) -> None:
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
        # (it is written once more as it is before it is deleted)
        assert witness.puts == [b"changes", b"goes"]
        assert witness.deletes == [b"goes"]


@pytest.mark.parametrize(
    "content", ["", "{}", "garbage", '{"id": 99999999999999999999999, "ttl": 2, "prefix": ""}', "\xff"]
)
def test_invalid_lease_file_is_ignored(etcd: EtcdCluster, tmp_path: Path, content: str) -> None:
    file = tmp_path / "lease"
    file.write_bytes(content.encode("latin-1"))
    with publisher(etcd, file) as ref:
        ref.tell(PublishOnly(KEYS))
        wait_for(etcd, KEYS)


def test_keys_are_published_although_the_lease_file_is_not_writable(etcd: EtcdCluster, tmp_path: Path) -> None:
    with publisher(etcd, tmp_path / "missing" / "lease") as ref:
        ref.tell(PublishOnly(KEYS))
        wait_for(etcd, KEYS)


def test_change_of_the_ttl_leaves_no_gap(etcd: EtcdCluster, tmp_path: Path) -> None:
    file = tmp_path / "lease"
    with publisher(etcd, file) as ref:
        ref.tell(PublishOnly({b"stays": b"1", b"goes": b"1"}))
        wait_for(etcd, {b"stays": b"1", b"goes": b"1"})
    with Witness(etcd) as witness, publisher(etcd, file, ttl=10) as ref:
        ref.tell(PublishOnly({b"stays": b"1"}))
        wait_for(etcd, {b"stays": b"1"})
    assert witness.deletes == [b"goes"]


def test_keys_are_published_again_after_the_lease_was_revoked(etcd: EtcdCluster) -> None:
    put_others(etcd)
    with publisher(etcd) as ref:
        ref.tell(PublishOnly(KEYS))
        wait_for(etcd, OTHERS | KEYS)
        revoke(etcd, KEYS)
        wait_for(etcd, OTHERS | KEYS)
        revoke(etcd, KEYS)
        ref.tell(Publish(b"new", b"1"))  # before the loss is noticed
        wait_for(etcd, OTHERS | KEYS | {b"new": b"1"})


def test_foreign_changes_of_our_keys_are_repaired(etcd: EtcdCluster) -> None:
    put_others(etcd)
    one, two, three = KEYS
    with publisher(etcd, ttl=600) as ref:
        ref.tell(PublishOnly(KEYS))
        wait_for(etcd, OTHERS | KEYS)
        with Client(etcd.location(), etcd.endpoints[0]) as client:
            client.transact([(one, b"theirs"), (two, b"theirs")], [three])
            ref.tell(Publish(two, None))  # no longer attached to our lease
            ref.tell(Publish(b"new", b"1"))
        wait_for(etcd, OTHERS | {one: KEYS[one], two: b"theirs", three: KEYS[three], b"new": b"1"})


def test_two_nodes_publish_keys_of_one_service(etcd: EtcdCluster) -> None:
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


def test_key_of_two_nodes_outlives_the_one_that_removes_it(etcd: EtcdCluster) -> None:
    with publisher(etcd) as one, publisher(etcd) as other:
        one.tell(PublishOnly({b"routes/net": b"1", b"one": b""}))
        wait_for(etcd, {b"routes/net": b"1", b"one": b""})
        other.tell(PublishOnly({b"routes/net": b"1", b"other": b""}))
        wait_for(etcd, {b"routes/net": b"1", b"one": b"", b"other": b""})
        one.tell(PublishOnly({}))
        wait_for(etcd, {b"routes/net": b"1", b"other": b""})


def test_five_thousand_keys_are_published_lost_restored_and_removed(etcd: EtcdCluster) -> None:
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
