import pytest

from clusterf.config.model import Backend, BackendCheck, BackendKey, HealthCheck, HealthKey, Tls
from clusterf.health.authorities import NamedFiles, file_of


def naming(path, **fields):
    return HealthCheck(**({"type": "https"} | fields), tls=Tls(ca=path))


@pytest.mark.parametrize(
    ("check", "path"),
    [
        (naming("/a"), "/a"),
        (naming("/a", type="http", redirects=1), "/a"),
        (naming("/a", type="http"), ""),
        (naming("/a", type="tcp"), ""),
        (naming("/a", type="none"), ""),
        (HealthCheck(type="https"), ""),
        (HealthCheck(type="https", tls=Tls(ca="/a", verify=False)), ""),
    ],
)
def test_only_checks_that_verify_certificates_need_a_file(check, path):
    assert file_of(check) == path


def test_file_is_named_for_as_long_as_one_check_names_it():
    files = NamedFiles()
    one, two, default = HealthKey(b"one"), HealthKey(b"two"), HealthKey(None)
    assert files.put(one, naming("/a")) == [("/a", True)]
    assert files.put(two, naming("/a")) == []
    assert files.put(one, naming("/a", interval=9)) == []
    assert files.put(one, naming("/b")) == [("/b", True)]
    assert "/a" in files
    assert files.put(two, naming("/b")) == [("/a", False)]
    assert "/a" not in files
    assert files.put(two, None) == []
    assert files.put(default, naming("/c")) == [("/c", True)]
    assert files.put(one, HealthCheck()) == [("/b", False)]
    assert files.put(one, None) == files.put(two, None) == []
    assert files.put(default, naming("/d")) == [("/d", True), ("/c", False)]
    backend = BackendKey(b"one", b"1")
    assert files.put(backend, Backend()) == []
    assert files.put(backend, Backend(health=BackendCheck(naming("/e")))) == [("/e", True)]
    assert files.put(backend, Backend(health=BackendCheck(naming("/d")))) == [("/e", False)]
    assert files.put(backend, Backend(weight=1)) == []
    assert "/d" in files
