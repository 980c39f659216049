"""KeyPublisher while others end its lease, take its keys, or hold its lease, too: what a director sees meanwhile."""

import time
from pathlib import Path

import pytest

from actors.docker.key_publisher import PublishOnly
from clusterf.etcd.client import Client
from tests.lab.etcd import EtcdCluster
from tests.system.support.publisher import KEYS, OTHERS, Witness, keys_in, publisher, put_others, revoke, wait_for
from tests.waiting import wait_until

pytestmark = pytest.mark.usefixtures("emptied")

SOON = 1.0  # seconds, for what takes milliseconds
LONG = 600  # seconds; a TTL whose renewals come much later


def test_keys_are_back_at_once_whoever_takes_them(etcd: EtcdCluster) -> None:
    put_others(etcd)
    one, two, three = KEYS
    with publisher(etcd, ttl=LONG) as ref, Client(etcd.location(), etcd.endpoints[0]) as client:
        ref.tell(PublishOnly(KEYS))
        wait_for(etcd, OTHERS | KEYS)
        client.transact([(one, b"theirs"), (two, KEYS[two])], [three])
        wait_for(etcd, OTHERS | KEYS, SOON)
        revoke(etcd, KEYS)  # all of them are on our lease again
        wait_for(etcd, OTHERS | KEYS, SOON)


def test_who_takes_a_key_in_a_loop_does_not_have_it_put_back_in_one(etcd: EtcdCluster) -> None:
    one, *_ = KEYS
    with publisher(etcd, ttl=LONG) as ref, Client(etcd.location(), etcd.endpoints[0]) as client:
        ref.tell(PublishOnly(KEYS))
        wait_for(etcd, KEYS)
        with Witness(etcd) as witness:
            began = time.monotonic()
            while time.monotonic() - began < 2:
                client.transact([(one, b"theirs")], [])
                wait_until(lambda: keys_in(etcd)[one] != b"theirs")
        assert len(witness.puts) < 20
    assert keys_in(etcd) == KEYS


def test_two_nodes_of_one_state_directory_end_up_with_a_lease_each_and_no_key_is_ever_absent(
    etcd: EtcdCluster, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    mine = {b"services/web/backends/a": b'{"publisher": "one"}', b"services/web/backends/b": b'{"publisher": "one"}'}
    theirs = {b"services/web/backends/c": b'{"publisher": "two"}'}
    with publisher(etcd, tmp_path / "lease", LONG) as one:
        one.tell(PublishOnly(mine))
        wait_for(etcd, mine)
        with Witness(etcd) as witness, publisher(etcd, tmp_path / "lease", LONG) as other:
            other.tell(PublishOnly(theirs))
            wait_until(lambda: "is that of a node that lives: it has moved its keys" in caplog.text)
            wait_for(etcd, mine | theirs)
            one.tell(PublishOnly(mine))
        assert not witness.deletes
        assert "is used by another node, too" in caplog.text
