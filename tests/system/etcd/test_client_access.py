"""clusterf.etcd.client with an etcd that wants TLS, client certificates or a password."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from clusterf.etcd.client import Client
from tests.lab.etcd import EtcdCluster, Tls
from tests.system.support.etcd_client import SOON, Reader, connect, expire_a_lease, fails_within
from tests.waiting import wait_until


def test_tls_with_a_trusted_certificate_is_admitted(encrypted: EtcdCluster) -> None:
    with connect(encrypted) as client:
        client.transact([(b"a", b"1")], [])
        assert client.list().items == [(b"a", b"1")]


def test_server_of_an_untrusted_authority_is_refused(encrypted: EtcdCluster) -> None:
    assert encrypted.tls
    for ca in (encrypted.tls.wrong_ca, None):
        with fails_within(SOON, "(?i)certificate|ssl|handshake"), connect(encrypted, ca=ca) as client:
            client.list()


def test_client_without_a_trusted_certificate_is_refused(encrypted: EtcdCluster) -> None:
    assert encrypted.tls
    for cert, key in ((None, None), encrypted.tls.stranger):
        with fails_within(SOON), connect(encrypted, cert=cert, key=key) as client:
            client.list()


def test_server_certificate_of_another_name_is_refused(tmp_path: Path) -> None:
    tls = Tls(tmp_path / "tls", names=["127.0.0.1"])
    imposing = Tls(tmp_path / "other", names=["other.example"])
    with EtcdCluster(tmp_path / "etcd", tls=tls) as cluster:
        member = cluster.members[0]
        member.stop()
        for path, other in zip(tls.server, imposing.server, strict=True):
            Path(path).write_bytes(Path(other).read_bytes())
        member.launch()
        wait_until(lambda: "serving client" in member.log)
        with fails_within(SOON), connect(cluster, ca=imposing.ca, cert=None, key=None) as client:
            client.list()


@pytest.mark.parametrize("field", ["ca", "cert", "key"])
def test_unreadable_file_is_named(encrypted: EtcdCluster, tmp_path: Path, field: str) -> None:
    missing: dict[str, Any] = {field: str(tmp_path / "missing.pem")}
    with fails_within(1, "missing.pem: No such file"):
        connect(encrypted, **missing)


def unusable(tls: Tls, tmp_path: Path) -> Iterator[dict[str, Any]]:
    garbage = tmp_path / "garbage.pem"
    garbage.write_text("garbage\n")
    empty = tmp_path / "empty.pem"
    empty.write_text("")
    for path in (garbage, empty):
        for field in ("ca", "cert", "key"):
            yield {field: str(path)}
    yield {"key": tls.server[1]}
    yield {"key": None}
    yield {"cert": None}


def test_invalid_files_are_refused(encrypted: EtcdCluster, tmp_path: Path) -> None:
    assert encrypted.tls
    for changes in unusable(encrypted.tls, tmp_path):
        with fails_within(SOON), connect(encrypted, deadline=2, **changes) as client:
            client.list()


def test_tls_and_plain_text_do_not_connect(etcd: EtcdCluster, encrypted: EtcdCluster) -> None:
    with fails_within(SOON), connect(encrypted, deadline=2, tls=False) as client:
        client.list()
    with fails_within(SOON), connect(etcd, deadline=2, tls=True, ca=encrypted.location().credentials.ca) as client:
        client.list()


def test_user_is_admitted_below_his_prefix_only(guarded: EtcdCluster) -> None:
    with connect(guarded) as client:
        client.transact([(b"a", b"1")], [])
        assert (b"a", b"1") in client.list().items
        reader = Reader(client.watch(client.list().revision + 1))
        client.transact([(b"b", b"1")], [])
        assert reader.events(1)[0].path == b"b"
    with connect(guarded, prefix="other") as client:
        with fails_within(SOON, "permission denied"):
            client.list()
        with fails_within(SOON, "permission denied"):
            next(message for message in client.watch(0) if message)


def test_wrong_password_is_refused(guarded: EtcdCluster, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong"
    wrong.write_text("wrong")
    for changes in ({"password_file": str(wrong)}, {"user": "nobody"}, {"password_file": None}):
        with fails_within(SOON, "authentication failed"):
            connect(guarded, **changes)
    with fails_within(SOON, "No such file"):
        connect(guarded, password_file=str(tmp_path / "missing"))
    with fails_within(SOON, "user name is empty"), connect(guarded, user=None) as client:
        client.list()


def test_password_may_come_from_the_environment(guarded: EtcdCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLUSTERF_ETCD_PASSWORD", "secret")
    with connect(guarded, password_file=None) as client:
        client.list()


def test_expired_token_is_reported(guarded: EtcdCluster) -> None:
    with connect(guarded) as client, connect(guarded) as other:
        expire_a_lease(other, 3)
        with fails_within(SOON, "invalid auth token"):
            client.list()
        with fails_within(SOON, "invalid auth token"):
            client.transact([(b"a", b"1")], [])
    with connect(guarded) as client:
        client.list()


def test_password_is_ignored_while_authentication_is_off(tmp_path: Path) -> None:
    with EtcdCluster(tmp_path / "etcd", auth=True) as cluster:
        location = cluster.location()
        cluster.disable_auth()
        with Client(location, cluster.endpoints[0]) as client:
            client.list()
            cluster.enable_auth()
            with fails_within(SOON, "user name is empty"):
                client.list()
        with Client(location, cluster.endpoints[0]) as client:
            cluster.disable_auth()
            with fails_within(SOON, "invalid auth token"):
                client.list()
        with Client(location, cluster.endpoints[0]) as client:
            client.list()
