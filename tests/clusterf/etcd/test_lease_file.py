import pytest

from clusterf.etcd.lease_file import LeaseFile

PREFIX = b"/clusterf/"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "lease"


def test_lease_is_read_back(path, caplog):
    LeaseFile(path, 10, PREFIX).write((1 << 63) - 1)
    assert LeaseFile(path, 10, PREFIX).read() == (1 << 63) - 1
    assert list(path.parent.iterdir()) == [path]
    assert caplog.messages == []


def test_lease_of_another_ttl_or_prefix_is_not_taken_over(path):
    LeaseFile(path, 10, PREFIX).write(7)
    assert LeaseFile(path, 11, PREFIX).read() == 0
    assert LeaseFile(path, 10, b"/other/").read() == 0


def test_missing_file_is_no_lease(path, caplog):
    assert LeaseFile(path, 10, PREFIX).read() == 0
    assert caplog.messages == []


@pytest.mark.parametrize(
    "content",
    [b"", b"{}", b"garbage", b'{"id": 99999999999999999999999, "ttl": 10, "prefix": ""}', b'{"id": -1}', b"\xff"],
)
def test_invalid_file_is_reported_and_ignored(path, caplog, content):
    path.write_bytes(content)
    assert LeaseFile(path, 10, PREFIX).read() == 0
    (message,) = caplog.messages
    assert message.startswith(f"lease file {path}: invalid: ")


def test_failed_write_is_reported(tmp_path, caplog):
    path = tmp_path / "missing" / "lease"
    LeaseFile(path, 10, PREFIX).write(7)
    assert caplog.messages == [
        f"lease file {path}: not written: No such file or directory: a restart will use a new lease"
    ]


def test_without_a_path_nothing_is_kept():
    file = LeaseFile(None, 10, PREFIX)
    file.write(7)
    assert file.read() == 0
