import logging
import os
import ssl
import time
from pathlib import Path

import pytest

from clusterf.health import authority_files
from clusterf.health.authorities import Authorities
from clusterf.health.authority_files import AuthorityFiles, certificates
from tests.clusterf.support.hostile_tls import EXPENSIVE
from tests.servers import Authority

REASON = "not only certificates in PEM format"
# (the label is in two parts, so that no scanner takes this for a key that has leaked)
KEY = b"-----BEGIN PRIVATE " + b"KEY-----\nc2VjcmV0\n-----END PRIVATE " + b"KEY-----\n"


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def pem(authority):
    return authority.pem.read_bytes()


@pytest.fixture
def path(tmp_path, pem):
    path = tmp_path / "ca.pem"
    path.write_bytes(pem)
    return path


@pytest.fixture
def files(path):
    files = AuthorityFiles()
    files.put(str(path), named=True)
    return files


@pytest.fixture(autouse=True)
def _all_levels(caplog):
    caplog.set_level(logging.INFO)


def test_only_certificates_leave_and_not_what_is_around_them(pem, tmp_path):
    other = Authority(tmp_path).pem.read_bytes()
    read = certificates("größe: password=1\n".encode() + pem + b"# secret\r\n" + other.replace(b"\n", b"\r\n") + b"x")
    assert read.encode() == pem + other
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=read)
    assert len(context.get_ca_certs()) == 2
    assert certificates(pem.replace(b"CERT", b"X509 CERT")).encode() == pem


def _longer(pem):
    der = ssl.PEM_cert_to_DER_cert(pem.decode())
    return ssl.DER_cert_to_PEM_cert(der + b"password").encode()


def _expensive(pem):
    return pem + ssl.DER_cert_to_PEM_cert(EXPENSIVE).encode()


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(_expensive, id="a key that takes long to read"),
        pytest.param(lambda pem: pem + KEY, id="a key behind it"),
        pytest.param(lambda pem: KEY + pem, id="a key before it"),
        pytest.param(lambda pem: pem + KEY.replace(b"PRIVATE", b"ENCRYPTED PRIVATE"), id="an encrypted key"),
        pytest.param(lambda pem: pem + b"-----BEGIN OpenSSH", id="half a key"),
        pytest.param(lambda pem: KEY, id="a key"),
        pytest.param(lambda pem: pem[:-30], id="half a certificate"),
        pytest.param(lambda pem: pem + pem[:300], id="another half"),
        pytest.param(_longer, id="bytes behind the certificate, in its block"),
        pytest.param(lambda pem: pem.replace(b"CERTIFICATE", b"TRUSTED CERTIFICATE"), id="with trust settings"),
        pytest.param(
            lambda pem: b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n", id="no certificate"
        ),
        pytest.param(lambda pem: b"-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----\n", id="one byte"),
        pytest.param(lambda pem: b"-----BEGIN CERTIFICATE-----\nMIIBA\n-----END CERTIFICATE-----\n", id="no base64"),
        pytest.param(lambda pem: b"root:$y$j9T$secret:19000:0:99999:7:::\n", id="shadow"),
        pytest.param(lambda pem: bytes(range(256)), id="binary"),
        pytest.param(lambda pem: b"\n", id="a blank line"),
    ],
)
def test_whatever_else_a_file_holds_its_problem_is_the_same(files, path, pem, spoil, caplog):
    path.write_bytes(spoil(pem))
    assert files.poll() == {str(path): Authorities(problem=REASON)}
    assert caplog.messages == [f"health: {path}: {REASON} (probes that need these authorities do not count)"]


def test_certificates_that_take_long_to_read_are_not_read(pem):
    file = pem + ssl.DER_cert_to_PEM_cert(EXPENSIVE).encode() * 1000
    before = time.thread_time()
    with pytest.raises(ValueError, match=f"^{REASON}$"):
        certificates(file)
    assert time.thread_time() - before < 0.2


def test_what_is_no_file_of_reasonable_size_is_not_opened(tmp_path, monkeypatch):
    (tmp_path / "empty").touch()
    (tmp_path / "big").write_bytes(b"x" * (1 << 20) + b"x")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    os.mkfifo(tmp_path / "fifo")
    problems = {
        tmp_path / "none": "no such file or directory",
        tmp_path: "not a regular file",
        tmp_path / "fifo": "not a regular file",
        Path("/dev/zero"): "not a regular file",
        tmp_path / "empty": REASON,
        Path("/proc/self/status"): REASON,
        tmp_path / "big": "larger than 1 MiB",
        tmp_path / "loop": "too many levels of symbolic links",
    }
    files = AuthorityFiles()
    for path in problems:
        files.put(str(path), named=True)
    monkeypatch.setattr(os, "open", None)
    assert files.poll() == {str(path): Authorities(problem=problem) for path, problem in problems.items()}
    assert files.poll() == {}


def test_file_that_is_exchanged_for_a_pipe_just_before_it_is_opened_holds_nothing_up(files, path, monkeypatch):
    regular = path.stat()
    path.unlink()
    os.mkfifo(path)
    with monkeypatch.context() as patch:
        patch.setattr(os, "stat", lambda _: regular)
        assert files.poll() == {str(path): Authorities(problem="not a regular file")}


def test_file_is_read_again_only_when_it_has_changed(files, path, pem, tmp_path, monkeypatch):
    reads = []
    read = authority_files._read
    monkeypatch.setattr(authority_files, "_read", lambda path: reads.append(path) or read(path))
    assert files.poll() == {str(path): Authorities(pem.decode())}
    assert files.poll() == {}
    assert len(reads) == 1
    other = Authority(tmp_path).pem.read_bytes()
    # in place, and by rename with the same size and times
    path.write_bytes(other)
    assert files.poll() == {str(path): Authorities(other.decode())}
    new = tmp_path / "new"
    new.write_bytes(pem)
    os.utime(new, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns))
    new.rename(path)
    assert files.poll() == {str(path): Authorities(pem.decode())}
    os.utime(path)
    assert files.poll() == {}
    assert len(reads) == 4
    files.reload()
    assert files.poll() == {}
    assert len(reads) == 5


def test_previous_authorities_are_kept_while_the_file_has_a_problem(files, path, pem, caplog):
    files.poll()
    for content, problem in ((None, "no such file or directory"), (b"half a file", REASON)):
        path.unlink() if content is None else path.write_bytes(content)
        assert files.poll() == {str(path): Authorities(pem.decode(), problem)}
        assert files.poll() == {}
    path.write_bytes(pem)
    assert files.poll() == {str(path): Authorities(pem.decode())}
    kept = "(keeping the previous valid authorities)"
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("WARNING", f"health: {path}: no such file or directory {kept}"),
        ("WARNING", f"health: {path}: {REASON} {kept}"),
        ("INFO", f"health: {path}: valid again"),
    ]


def test_file_that_comes_back_as_it_was_is_valid_again(files, path, pem):
    files.poll()
    path.rename(path.with_name("aside"))
    path.mkdir()
    assert files.poll() == {str(path): Authorities(pem.decode(), "not a regular file")}
    path.rmdir()
    path.with_name("aside").rename(path)
    assert files.poll() == {str(path): Authorities(pem.decode())}


def test_number_and_size_of_files_are_limited(pem, tmp_path, monkeypatch):
    monkeypatch.setattr(authority_files, "MAX_FILES", 2)
    monkeypatch.setattr(authority_files, "MAX_TOTAL", 3 * len(pem) // 2)
    files = AuthorityFiles()
    for name in "abc":
        (tmp_path / name).write_bytes(pem)
        files.put(str(tmp_path / name), named=True)
    a, b, c = (str(tmp_path / name) for name in "abc")
    known = files.poll()
    assert known[a] == Authorities(pem.decode())
    assert known[b].problem == "more than 0 MiB of authorities"
    assert known[c].problem == "more than 2 files of authorities"
    files.put(b, named=False)
    assert files.poll() == {c: Authorities(problem="more than 0 MiB of authorities")}
    files.put(a, named=False)
    files.reload()
    assert files.poll() == {c: Authorities(pem.decode())}
    assert len(files) == 1
