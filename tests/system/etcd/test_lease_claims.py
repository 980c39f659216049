"""Keys that are published only if nobody else sets them, with a real etcd."""

from pathlib import Path

import pytest

from actors.base.messages import Leave, Reload
from actors.docker.key_publisher import Publish, PublishOnly
from tests.lab.etcd import EtcdCluster
from tests.system.support.publisher import (
    CHECK,
    KEYS,
    TTL,
    Witness,
    expire_a_lease,
    keys_in,
    leases,
    publisher,
    put,
    revoke,
    wait_for,
)
from tests.waiting import wait_until

pytestmark = pytest.mark.usefixtures("emptied")


def test_claim_is_set_changed_and_removed(etcd: EtcdCluster) -> None:
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


def test_key_of_somebody_else_is_never_changed(etcd: EtcdCluster) -> None:
    put(etcd, CHECK, b"theirs")
    with publisher(etcd) as ref, Witness(etcd) as witness:
        ref.tell(PublishOnly(KEYS, {CHECK: b"ours"}))
        wait_for(etcd, KEYS | {CHECK: b"theirs"})
        ref.tell(Reload())
        ref.tell(Publish(CHECK, b"ours, changed", if_absent=True))
        ref.tell(Publish(b"key", b"later"))
        wait_for(etcd, KEYS | {CHECK: b"theirs", b"key": b"later"})
        expire_a_lease(etcd, TTL)  # so that ours has been kept alive
        ref.tell(Publish(CHECK, None))
        ref.tell(Publish(b"key", None))
        wait_for(etcd, KEYS | {CHECK: b"theirs"})
        ref.tell(Publish(CHECK, b"ours", if_absent=True))
        ref.tell(Leave())
        wait_for(etcd, {CHECK: b"theirs"})
    assert CHECK not in [*witness.puts, *witness.deletes]


def test_claim_is_set_once_an_operator_deletes_his_key(etcd: EtcdCluster) -> None:
    put(etcd, CHECK, b"theirs")
    with publisher(etcd) as ref:
        ref.tell(PublishOnly(KEYS, {CHECK: b"ours"}))
        wait_for(etcd, KEYS | {CHECK: b"theirs"})
        put(etcd, CHECK, None)
        wait_for(etcd, KEYS | {CHECK: b"ours"}, timeout=TTL + 3)


def test_claim_alone_is_set_once_the_other_key_is_deleted(etcd: EtcdCluster) -> None:
    put(etcd, CHECK, b"theirs")
    with publisher(etcd) as ref:
        ref.tell(PublishOnly({}, {CHECK: b"ours"}))
        wait_until(lambda: leases(etcd))
        revoke(etcd, {})
        wait_until(lambda: not leases(etcd))
        wait_until(lambda: leases(etcd))  # a new one
        put(etcd, CHECK, None)
        wait_for(etcd, {CHECK: b"ours"}, timeout=TTL + 3)


def test_claim_that_an_operator_overwrites_is_his(etcd: EtcdCluster) -> None:
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


def test_overwritten_claim_is_kept_when_ours_is_removed(etcd: EtcdCluster) -> None:
    with publisher(etcd) as ref:
        ref.tell(PublishOnly(KEYS, {CHECK: b"ours"}))
        wait_for(etcd, KEYS | {CHECK: b"ours"})
        put(etcd, CHECK, b"theirs")
        ref.tell(PublishOnly({}))
        wait_for(etcd, {CHECK: b"theirs"})


def test_second_claimant_takes_over_when_the_first_dies(etcd: EtcdCluster, tmp_path: Path) -> None:
    with publisher(etcd) as second:
        with publisher(etcd) as first:
            first.tell(PublishOnly({}, {CHECK: b"of the first"}))
            wait_for(etcd, {CHECK: b"of the first"})
            second.tell(PublishOnly(KEYS, {CHECK: b"of the second"}))
            wait_for(etcd, KEYS | {CHECK: b"of the first"})
            expire_a_lease(etcd, TTL + 1)
            assert keys_in(etcd) == KEYS | {CHECK: b"of the first"}
        wait_for(etcd, KEYS | {CHECK: b"of the second"})


def test_restart_within_the_ttl_keeps_the_claim(etcd: EtcdCluster, tmp_path: Path) -> None:
    file = tmp_path / "lease"
    with publisher(etcd, file, ttl=10) as ref:
        ref.tell(PublishOnly(KEYS, {CHECK: b"1"}))
        wait_for(etcd, KEYS | {CHECK: b"1"})
    with Witness(etcd) as witness, publisher(etcd, file, ttl=10) as ref:
        ref.tell(PublishOnly(KEYS, {CHECK: b"2"}))
        wait_for(etcd, KEYS | {CHECK: b"2"})
    assert (witness.puts, witness.deletes) == ([CHECK], [])
