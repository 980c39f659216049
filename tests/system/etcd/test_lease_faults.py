"""KeyPublisher while etcd fails: all keys are published in the end."""

import logging
import time
from pathlib import Path

import pytest

from actors.base.messages import Leave
from actors.docker.key_publisher import Publish, PublishOnly
from tests.lab.etcd import EtcdCluster
from tests.system.support.publisher import KEYS, OTHERS, TTL, Witness, expire_a_lease, publisher, put_others, wait_for
from tests.waiting import wait_until

pytestmark = pytest.mark.usefixtures("emptied")


def test_changes_during_an_outage_are_written_afterwards(etcd: EtcdCluster) -> None:
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


def test_keys_are_published_again_after_etcd_was_frozen_past_the_ttl(
    etcd: EtcdCluster, caplog: pytest.LogCaptureFixture
) -> None:
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


def test_keys_are_published_again_after_etcd_lost_its_data(etcd: EtcdCluster) -> None:
    with publisher(etcd) as ref:
        ref.tell(PublishOnly(KEYS))
        wait_for(etcd, KEYS)
        etcd.kill()
        etcd.start(wipe=True)
        wait_for(etcd, KEYS)


def test_keys_are_published_once_etcd_is_up(etcd: EtcdCluster) -> None:
    etcd.kill()
    with publisher(etcd) as ref:
        ref.tell(PublishOnly(KEYS))
        etcd.start()
        wait_for(etcd, KEYS)


def test_members_may_fail_one_after_the_other(tmp_path: Path) -> None:
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


def test_expired_token_is_renewed(tmp_path: Path) -> None:
    with EtcdCluster(tmp_path / "etcd", auth=True, token_ttl=1) as cluster, publisher(cluster, ttl=600) as ref:
        ref.tell(PublishOnly(KEYS))
        wait_for(cluster, KEYS)
        expire_a_lease(cluster, 3)
        ref.tell(Publish(b"new", b"1"))
        wait_for(cluster, KEYS | {b"new": b"1"})
        ref.tell(Leave())
        wait_for(cluster, {})
