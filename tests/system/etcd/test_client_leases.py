"""clusterf.etcd.client with a real etcd: leases."""

from itertools import count, islice

import pytest

from clusterf.etcd.client import Client, Put
from clusterf.etcd.errors import EtcdError
from clusterf.etcd.transactions import OPERATIONS
from tests.lab.etcd import EtcdCluster
from tests.system.support.etcd_client import connect
from tests.waiting import wait_until

PREFIXES = (f"clusterf/leases/{number}" for number in count())


def test_lease_is_kept_alive(client: Client) -> None:
    lease = client.grant(2)
    client.transact([(b"a", b"1")], [], lease)
    expiring = client.grant(2)
    client.transact([(b"b", b"1")], [], expiring)
    wait_until(lambda: client.keep_alive(lease) == 2 and not client.leased(expiring), timeout=8)
    assert client.leased(lease) == {b"a": b"1"}
    assert client.keep_alive(expiring) == 0


def test_revoked_lease_is_reported(client: Client) -> None:
    lease = client.grant(60)
    client.revoke(lease)
    assert client.keep_alive(lease) == 0
    assert client.leased(lease) == {}
    client.revoke(lease)
    with pytest.raises(EtcdError, match="lease not found") as trouble:
        client.transact([(b"a", b"1")], [], lease)
    assert trouble.value.lease_gone


def test_time_of_a_lease_is_known_until_it_is_gone(client: Client) -> None:
    lease = client.grant(60)
    left, granted = client.time_to_live(lease)
    assert (granted, 58 <= left <= 60) == (60, True)
    client.revoke(lease)
    assert client.time_to_live(lease) == (0, 0)


def test_list_tells_the_leases_of_keys(client: Client) -> None:
    lease = client.grant(60)
    client.transact([(b"a", b"1"), (b"b", b"1")], [], lease)
    client.transact([(b"b", b"2"), (b"c", b"1")], [])
    assert client.list().leases == {b"a": lease}


def test_leased_returns_the_keys_of_one_lease(client: Client, etcd: EtcdCluster) -> None:
    ours, other = client.grant(60), client.grant(60)
    values = {b"%d" % number: b"ours" for number in range(300)}
    items = iter(values.items())
    while chunk := list(islice(items, OPERATIONS)):
        client.transact(chunk, [], ours)
    client.transact([(b"other", b"")], [], other)
    client.transact([(b"none", b"")], [])
    client.transact([(b"7", b"theirs")], [], other)
    with connect(etcd, prefix=next(PREFIXES)) as elsewhere:
        elsewhere.transact([(b"a", b"")], [], ours)
    del values[b"7"]
    assert client.leased(ours) == values


def test_delete_with_a_lease_keeps_keys_of_others(client: Client) -> None:
    ours, other = client.grant(60), client.grant(60)
    client.transact([(b"ours", b"")], [], ours)
    client.transact([(b"other", b"")], [], other)
    client.transact([(b"none", b"")], [])
    client.transact([], [b"ours", b"other", b"none", b"missing"], ours)
    assert client.list().items == [(b"none", b""), (b"other", b"")]


def test_claim_sets_keys_that_are_absent_or_as_they_are_said_to_be_and_says_what_the_others_are(client: Client) -> None:
    ours, other = client.grant(60), client.grant(60)
    client.transact([(b"other", b"1"), (b"late", b"1")], [], other)
    client.transact([(b"ours", b"1"), (b"surplus", b"1")], [], ours)
    written = client.transact([(b"unleased", b"1")], [])
    puts = [Put(b"ours", b"2", ours), Put(b"other", b"2", 0), Put(b"absent", b"2", 0), Put(b"unleased", b"2", 0)]
    puts += [Put(b"gone", b"2", ours), Put(b"late", b"2", 0, written - 2)]
    claimed = client.claim(puts, [b"surplus"], ours)
    assert claimed == (written + 1, {b"other": (other, written - 2), b"gone": (0, 0)})
    values = {b"absent": b"2", b"late": b"2", b"ours": b"2", b"unleased": b"2"}
    assert client.leased(ours) == values
    assert client.read([b"other", b"gone", b"late"]) == {b"other": b"1", b"late": b"2"}
    again = client.claim([Put(b"other", b"2", 0, written)], [b"other"], ours)
    assert again == (written + 1, {b"other": (other, written - 2)})


def test_claim_takes_as_many_keys_as_a_transaction(client: Client) -> None:
    ours, other = client.grant(60), client.grant(60)
    paths = [b"%d" % number for number in range(OPERATIONS)]
    client.transact([(path, b"theirs") for path in paths[::2]], [], other)
    refused = client.claim([Put(path, b"ours", 0) for path in paths], [], ours).refused
    assert (refused.keys(), client.leased(ours).keys()) == (set(paths[::2]), set(paths[1::2]))
