"""clusterf.etcd.client with a real etcd: leases and claims."""

from itertools import count, islice

import pytest

from clusterf.etcd.client import Client
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


def test_claim_does_not_overwrite_keys_of_others(client: Client) -> None:
    ours, other = client.grant(60), client.grant(60)
    client.transact([(b"ours", b"old")], [], ours)
    client.transact([(b"other", b"theirs")], [], other)
    client.transact([(b"none", b"theirs")], [])
    claims = [(path, b"new") for path in (b"free", b"ours", b"other", b"none")]
    assert client.claim(claims, ours) == {b"other", b"none"}
    assert client.list().items == [(b"free", b"new"), (b"none", b"theirs"), (b"other", b"theirs"), (b"ours", b"new")]
    assert client.leased(ours) == {b"free": b"new", b"ours": b"new"}


def test_claims_fill_a_transaction(client: Client) -> None:
    lease = client.grant(60)
    claims = {b"%d" % number: b"" for number in range(OPERATIONS)}
    assert client.claim(claims.items(), lease) == set()
    assert client.claim(claims.items(), lease) == set()
    assert client.leased(lease) == claims
    assert client.claim(claims.items(), client.grant(60)) == claims.keys()


def test_claim_on_a_revoked_lease_is_reported(client: Client) -> None:
    lease = client.grant(60)
    client.revoke(lease)
    with pytest.raises(EtcdError, match="lease not found") as trouble:
        client.claim([(b"a", b"1")], lease)
    assert trouble.value.lease_gone
    assert client.list().items == []
