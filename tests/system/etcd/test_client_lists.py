"""clusterf.etcd.client with a real etcd: lists and transactions."""

import os
import threading
from itertools import count

import pytest

from clusterf.etcd.client import Client, KeyValue
from clusterf.etcd.transactions import OPERATIONS
from tests.lab.etcd import EtcdCluster
from tests.system.support.etcd_client import SOON, Reader, connect, fails_within, put


def test_list_has_all_keys_of_many_pages(client: Client) -> None:
    values = {
        b"services/web/backends/%05d" % number: b'{"weight": %d}' % number + b" " * 200 for number in range(20000)
    }
    revision = put(client, values)
    listing = client.list()
    assert dict(listing.items) == values
    assert len(listing.items) == len(values)
    assert listing.revision == revision


def test_list_has_values_of_a_megabyte(client: Client) -> None:
    values = {b"%d" % number: os.urandom(1 << 20) for number in range(6)}
    for item in values.items():
        client.transact([item], [])
    assert dict(client.list().items) == values


def test_value_over_the_limit_of_etcd_is_refused(client: Client) -> None:
    with fails_within(SOON, "too large"):
        client.transact([(b"a", bytes(1_700_000))], [])


@pytest.mark.parametrize("number", [0, 1, 999, 1000, 1001, 2000])
def test_list_may_end_with_a_page(client: Client, number: int) -> None:
    values = {b"%04d" % key: b"" for key in range(number)}
    put(client, values)
    assert dict(client.list().items) == values


def test_list_is_of_one_revision_while_keys_change(client: Client, etcd: EtcdCluster) -> None:
    put(client, {b"%04d" % number: b"" for number in range(2500)})
    client.transact([(b"", b"0"), (b"z", b"0")], [])
    stop = threading.Event()

    def change() -> None:
        for number in count():
            if stop.is_set():
                return
            client.transact([(b"", b"%d" % number), (b"z", b"%d" % number)], [b"%04d" % (number % 2500)])

    writer = threading.Thread(target=change)
    writer.start()
    try:
        revisions = set()
        for _ in range(20):
            listing = client.list()
            revisions.add(listing.revision)
            assert listing.items[0].value == listing.items[-1].value
    finally:
        stop.set()
        writer.join()
    assert len(revisions) > 1


def test_keys_beside_the_prefix_are_not_listed(doomed: EtcdCluster) -> None:
    with connect(doomed) as client:
        for key in (
            "/clusterf",
            "/clusterf-other/x",
            "/clusterf0",
            "/clustere/x",
            "clusterf/x",
            "/clusterf.",
            "/other/clusterf/",
        ):
            doomed.ctl("put", key, "no")
        watch = Reader(client.watch(1))
        doomed.ctl("put", "/clusterf/", "the shortest")
        doomed.ctl("put", "/clusterf//", "a slash")
        with connect(doomed) as other:
            other.transact([(b"\xff\xff", b"the last")], [])
        below = [KeyValue(b"", b"the shortest"), KeyValue(b"/", b"a slash"), KeyValue(b"\xff\xff", b"the last")]
        assert client.list().items == below
        assert [event[:2] for event in watch.events(3)] == below


def test_transaction_has_one_revision(client: Client) -> None:
    client.transact([(b"a", b"1"), (b"b", b"1")], [])
    watch = Reader(client.watch(client.list().revision + 1))
    revision = client.transact([(b"b", b"2"), (b"c", b"2")], [b"a", b"never there"])
    assert client.list()[:2] == ([(b"b", b"2"), (b"c", b"2")], revision)
    assert sorted(event[:3] for event in watch.events(3)) == [
        (b"a", None, revision),
        (b"b", b"2", revision),
        (b"c", b"2", revision),
    ]


def test_transaction_has_at_most_the_documented_operations(client: Client) -> None:
    paths = [b"%d" % number for number in range(OPERATIONS)]
    lease = client.grant(60)
    client.transact([(path, b"") for path in paths], [], lease)
    client.transact([], paths, lease)
    assert client.list().items == []
    with fails_within(SOON, "too many operations"):
        client.transact([], [*paths, b"one", b"more"], lease)


def test_list_after_a_restore_has_a_lower_revision(doomed: EtcdCluster) -> None:
    with connect(doomed) as client:
        before = put(client, {b"%d" % number: b"" for number in range(300)})
    doomed.kill()
    doomed.start(wipe=True)
    with connect(doomed) as client:
        listing = client.list()
    assert listing.items == []
    assert listing.revision < before
