import pytest

from clusterf.etcd.location import EtcdCredentials, parse_location
from clusterf.sources.url import Source, check_tree, parse_source


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("file:///etc/clusterf", "/etc/clusterf"),
        ("file://localhost/etc/clusterf", "/etc/clusterf"),
        ("file:/etc/clusterf", "/etc/clusterf"),
        ("file:///a%20b%3Fc%23d", "/a b?c#d"),
        ("file:///", "/"),
    ],
)
def test_file_url_names_a_directory(url, path):
    assert parse_source(url) == Source(url, tree=path)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "/etc/clusterf",
        "file://",
        "file:",
        "file:etc",
        "file://host/etc",
        "file:///etc?x",
        "file:///etc#x",
        "file:///a%00b",
        "file://[",
        "http://host/",
        "ftp:///etc",
        "é",
        "\udcff",
    ],
)
def test_other_url_is_refused_with_a_reason(url):
    with pytest.raises(ValueError, match=r".{10}"):
        parse_source(url)


def test_tree_must_be_a_readable_directory(tmp_path):
    (tmp_path / "file").write_text("")
    check_tree(Source("file:///tree", tree=str(tmp_path)))
    for name in ("file", "missing", "n" * 300):
        with pytest.raises(ValueError, match="file:///tree: "):
            check_tree(Source("file:///tree", tree=str(tmp_path / name)))


def test_etcd_url_names_a_location_with_the_credentials():
    credentials = EtcdCredentials(user="clusterf")
    url = "etcd+https://a,b/lb"
    assert parse_source(url, credentials) == Source(url, etcd=parse_location(url, credentials))


@pytest.mark.parametrize(
    ("credentials", "reason"),
    [
        (EtcdCredentials(cert="/dev/null"), "--etcd-cert and --etcd-key must be given together"),
        (EtcdCredentials(password_file="/dev/null"), "--etcd-password-file needs --etcd-user"),
        (EtcdCredentials(ca="/nonexistent"), "--etcd-ca: /nonexistent: No such file or directory"),
    ],
)
def test_invalid_credentials_are_refused_for_etcd_only(credentials, reason):
    with pytest.raises(ValueError, match=f"^{reason}$"):
        parse_source("etcd://a/lb", credentials)
    assert parse_source("file:///etc", credentials) == Source("file:///etc", tree="/etc")
