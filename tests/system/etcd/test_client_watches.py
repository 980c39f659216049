"""clusterf.etcd.watch with a real etcd."""

import os
from pathlib import Path
from typing import Any

import pytest

from clusterf.etcd.client import Client
from clusterf.etcd.errors import EtcdError
from tests.lab.etcd import EtcdCluster
from tests.system.support.etcd_client import SOON, Reader, channel_options, connect, expire_a_lease, fails_within, put


def test_watch_begins_with_its_revision_and_keeps_the_order(client: Client) -> None:
    revisions = [client.transact([(b"key", b"%d" % number)], []) for number in range(300)]
    watch = Reader(client.watch(revisions[100]))
    revisions += [client.transact([], [b"key"]), client.transact([(b"key", b"back")], [])]
    values = [*(b"%d" % number for number in range(100, 300)), None, b"back"]
    assert [event[:3] for event in watch.events(202)] == [
        (b"key", value, at) for value, at in zip(values, revisions[100:], strict=True)
    ]


def test_watch_reports_keys_deleted_with_their_lease(client: Client) -> None:
    lease = client.grant(60)
    revision = client.transact([(b"a", b"1"), (b"b", b"1")], [], lease)
    watch = Reader(client.watch(revision + 1))
    client.revoke(lease)
    assert sorted(event[:2] for event in watch.events(2)) == [(b"a", None), (b"b", None)]


def test_watch_tells_the_lease_of_a_key(client: Client) -> None:
    lease = client.grant(60)
    revision = client.transact([(b"a", b"1")], [], lease)
    watch = Reader(client.watch(revision))
    client.transact([(b"a", b"2")], [])
    client.transact([], [b"a"])
    assert [event.lease for event in watch.events(3)] == [lease, 0, 0]


def test_watch_delivers_events_of_many_megabytes(client: Client) -> None:
    values = [os.urandom(1 << 20) for _ in range(6)]
    first = min(client.transact([(b"key", value)], []) for value in values)
    assert [event.value for event in Reader(client.watch(first)).events(6)] == values


def test_watch_replies_to_progress_requests(client: Client) -> None:
    watch = client.watch(client.list().revision + 1)
    reader = Reader(watch)
    for _ in range(3):
        watch.request_progress()
        assert reader.next() == []


@pytest.mark.parametrize("iterated", [True, False])
def test_cancelled_watch_ends(client: Client, *, iterated: bool) -> None:
    watch = client.watch(0)
    reader = Reader(watch) if iterated else None
    watch.cancel()
    with fails_within(SOON, "cancelled"):
        if reader:
            reader.next()
        else:
            next(iter(watch))


def test_watch_ends_when_its_client_is_closed(etcd: EtcdCluster) -> None:
    with connect(etcd) as client:
        reader = Reader(client.watch(0))
    with fails_within(SOON):
        reader.next()


def test_compacted_revision_is_reported_by_list_and_watch(doomed: EtcdCluster) -> None:
    with connect(doomed) as client:
        put(client, {b"%04d" % number: b"" for number in range(1500)})

        class Compacting:
            """Makes the first page of a list the last."""

            def __init__(self, stub: Any) -> None:
                self._stub = stub

            def Range(self, *arguments: Any, **options: Any) -> Any:  # noqa: N802
                reply = self._stub.Range(*arguments, **options)
                later = client.transact([(b"later", b"")], [])
                doomed.compact(later)
                return reply

        client._kv, kv = Compacting(client._kv), client._kv
        client._kv.Txn = kv.Txn
        with pytest.raises(EtcdError, match="compacted") as trouble:
            client.list()
        assert trouble.value.compacted
        client._kv = kv
        with pytest.raises(EtcdError, match="compacted") as trouble:
            next(message for message in client.watch(2) if message)
        assert trouble.value.compacted
        assert len(client.list().items) == 1501


def test_watch_ends_at_once_when_the_server_is_killed(doomed: EtcdCluster) -> None:
    with connect(doomed) as client:
        watch = Reader(client.watch(0))
        doomed.kill()
        with fails_within(SOON, "unavailable"):
            watch.next()
        with fails_within(SOON, "unavailable"):
            client.list()


def test_frozen_server_times_out_calls_and_watches(doomed: EtcdCluster) -> None:
    # a fifth of ours, so that the watch times out within 11 / 5 seconds
    with (
        channel_options(keepalive_time_ms=1200, keepalive_timeout_ms=1000, **{"http2.ping_timeout_ms": 1000}),
        connect(doomed, deadline=1) as client,
    ):
        watch = Reader(client.watch(0))
        doomed.members[0].freeze()
        with fails_within(2, "deadline|ping timeout"):
            client.list()
        with fails_within(2, "deadline|ping timeout"), connect(doomed, deadline=1) as late:
            late.list()
        with fails_within(3):
            watch.next(3)


def test_watch_ends_when_its_member_has_no_leader(tmp_path: Path) -> None:
    with EtcdCluster(tmp_path / "etcd", members=3) as cluster, connect(cluster, deadline=2) as client:
        watch = Reader(client.watch(0))
        for member in cluster.members[1:]:
            member.kill()
        with fails_within(10, "no leader"):
            watch.next(10)
        with fails_within(3):
            client.list()
        with fails_within(3):
            client.grant(10)
        cluster.start()
        assert client.list().items == []


def test_watch_with_an_expired_token_ends(guarded: EtcdCluster) -> None:
    with connect(guarded) as client, connect(guarded) as other:
        expire_a_lease(other, 3)
        with fails_within(SOON):
            next(message for message in client.watch(0) if message)
