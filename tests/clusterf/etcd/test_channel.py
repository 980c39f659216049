import pytest
import trustme

from clusterf.etcd import channel
from clusterf.etcd.channel import open_channel
from clusterf.etcd.errors import EtcdError
from clusterf.etcd.location import EtcdCredentials, EtcdLocation


def location(tls=True, **credentials):
    return EtcdLocation(endpoints=("a:1",), prefix=b"/clusterf/", tls=tls, credentials=EtcdCredentials(**credentials))


@pytest.fixture
def pem(tmp_path):
    """The paths of a CA, a certificate, its key, and a key of another certificate."""
    authority = trustme.CA()
    one, other = authority.issue_cert("a"), authority.issue_cert("b")
    blobs = {
        "ca": authority.cert_pem,
        "cert": one.cert_chain_pems[0],
        "key": one.private_key_pem,
        "other": other.private_key_pem,
    }
    for name, blob in blobs.items():
        blob.write_to_path(str(tmp_path / name))
    return {name: str(tmp_path / name) for name in blobs}


def test_valid_files_open_a_channel(pem):
    open_channel(location(ca=pem["ca"], cert=pem["cert"], key=pem["key"]), "a:1").close()
    open_channel(location(ca=pem["ca"]), "a:1").close()


def test_files_are_not_read_without_tls():
    open_channel(location(tls=False, ca="/nonexistent"), "a:1").close()


def test_certificate_without_its_key_is_refused(pem):
    with pytest.raises(EtcdError, match="must be given together"):
        open_channel(location(ca=pem["ca"], cert=pem["cert"]), "a:1")


def test_missing_file_is_named(pem):
    with pytest.raises(EtcdError, match=r"^/nonexistent: No such file or directory$"):
        open_channel(location(ca=pem["ca"], cert="/nonexistent", key=pem["key"]), "a:1")


@pytest.mark.parametrize("key", ["other", "cert"])
def test_key_of_another_certificate_is_refused(pem, key):
    with pytest.raises(EtcdError, match=f"{pem[key]}: not PEM certificates with a matching key"):
        open_channel(location(ca=pem["ca"], cert=pem["cert"], key=pem[key]), "a:1")


def test_hanging_server_is_detected_within_a_few_seconds():
    options = dict(channel._OPTIONS)
    assert options["grpc.keepalive_time_ms"] > 5000  # etcd disconnects clients that ping more often
    for name in ("grpc.keepalive_timeout_ms", "grpc.http2.ping_timeout_ms"):
        assert options["grpc.keepalive_time_ms"] + options[name] <= 11_000
