import msgspec
import pytest

from clusterf.etcd.location import EtcdCredentials, EtcdLocation, parse_location, prefix_end

CREDENTIALS = EtcdCredentials(user="clusterf", password_file="/etc/clusterf/password")


@pytest.mark.parametrize(
    ("url", "endpoints", "prefix", "tls"),
    [
        ("etcd://127.0.0.1:2379/clusterf", ("127.0.0.1:2379",), b"/clusterf/", False),
        ("etcd+https://etcd.example:2379/clusterf", ("etcd.example:2379",), b"/clusterf/", True),
        ("etcd://a", ("a:2379",), b"/clusterf/", False),
        ("etcd://a/", ("a:2379",), b"/clusterf/", False),
        ("etcd://a//", ("a:2379",), b"/clusterf/", False),
        ("etcd://a/lb/", ("a:2379",), b"/lb/", False),
        ("etcd://a/lb/one", ("a:2379",), b"/lb/one/", False),
        ("etcd://a/with%20space%2Fand%3F", ("a:2379",), b"/with space/and?/", False),
        ("etcd://a/%ff", ("a:2379",), b"/\xff/", False),
        ("etcd://a/caf\u00e9", ("a:2379",), b"/caf\xc3\xa9/", False),
        ("etcd://a/user@home", ("a:2379",), b"/user@home/", False),
        ("etcd://a:1,b:2,c/x", ("a:1", "b:2", "c:2379"), b"/x/", False),
        ("etcd://[::1]:1,[2001:db8::1],b/x", ("[::1]:1", "[2001:db8::1]:2379", "b:2379"), b"/x/", False),
        ("etcd://b,[::1]:1", ("b:2379", "[::1]:1"), b"/clusterf/", False),
        ("etcd://a:65535", ("a:65535",), b"/clusterf/", False),
    ],
)
def test_url_names_endpoints_and_a_prefix(url, endpoints, prefix, tls):
    assert parse_location(url, CREDENTIALS) == EtcdLocation(
        endpoints=endpoints, prefix=prefix, tls=tls, credentials=CREDENTIALS
    )


@pytest.mark.parametrize(
    "url",
    [
        "",
        "etcd",
        "etcd:",
        "etcd://",
        "etcd:///clusterf",
        "etcd://a,,b/clusterf",
        "etcd://a,/clusterf",
        "etcd://a, b/clusterf",
        "etcd://:2379/clusterf",
        "etcd://a:0/clusterf",
        "etcd://a:65536/clusterf",
        "etcd://a:port/clusterf",
        "etcd://a:1:2/clusterf",
        "etcd://::1/clusterf",
        "etcd://[::1/clusterf",
        "etcd://a:/clusterf",
        "etcd://a/clusterf?ca=x",
        "etcd://a/clusterf#x",
        "etcd://a?x",
        "http://a/clusterf",
        "etcds://a/clusterf",
        "file:///etc/clusterf",
    ],
)
def test_other_url_is_refused_with_the_reason(url):
    with pytest.raises(ValueError, match=r"begin|HOST:PORT|queries"):
        parse_location(url, CREDENTIALS)


@pytest.mark.parametrize("url", ["etcd://root:secret@a/clusterf", "etcd://a,root:secret@b/clusterf"])
def test_password_in_a_url_is_refused_and_not_repeated(url):
    with pytest.raises(ValueError, match="--etcd-user") as refusal:
        parse_location(url, CREDENTIALS)
    assert "secret" not in str(refusal.value)


def test_prefix_end_is_after_all_keys_of_the_prefix_and_before_its_neighbours():
    end = prefix_end(b"/clusterf/")
    assert b"/clusterf/\xff\xff" < end <= b"/clusterf0"


@pytest.mark.parametrize(
    ("url", "changes", "exposed"),
    [
        ("etcd://10.0.0.1", {}, True),
        ("etcd://127.0.0.1,etcd1:2379", {}, True),
        ("etcd://127.0.0.1.example.org", {}, True),
        ("etcd://127.0.0.1:1,[::1]:2,localhost", {}, False),
        ("etcd+https://10.0.0.1", {}, False),
        ("etcd://10.0.0.1", {"user": None}, False),
        ("etcd://10.0.0.1", {"insecure": True}, False),
    ],
)
def test_password_is_exposed_off_loopback_without_tls(url, changes, exposed):
    access = msgspec.structs.replace(EtcdCredentials(user="me"), **changes)
    assert parse_location(url, access).exposes_password is exposed
