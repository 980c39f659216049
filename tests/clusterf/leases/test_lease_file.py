import os
import shutil

import msgspec
import pytest

from clusterf.leases.lease_file import LeaseFile, Machine

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


def test_failed_write_is_reported_once_and_retried(tmp_path, caplog):
    caplog.set_level("INFO")
    (tmp_path / "file").touch()
    path = tmp_path / "file" / "lease"
    file = LeaseFile(path, 10, PREFIX)
    file.write(7)
    file.keep()
    failure = f"lease file {path}: not written, retrying: Not a directory: a restart will use a new lease"
    assert caplog.messages == [failure]
    (tmp_path / "file").unlink()
    file.keep()
    assert caplog.messages == [failure, f"lease file {path}: written"]
    assert LeaseFile(path, 10, PREFIX).read() == 7


def test_lease_is_written_anew_when_its_directory_was_renamed(tmp_path):
    path = tmp_path / "state" / "lease"
    file = LeaseFile(path, 10, PREFIX)
    file.write(7)
    path.parent.rename(tmp_path / "renamed")
    file.keep()
    assert LeaseFile(path, 10, PREFIX).read() == 7


def test_lease_in_a_copy_of_the_directory_or_of_another_machine_or_boot_is_not_taken_over(tmp_path):
    here = Machine("one", "boot")
    LeaseFile(tmp_path / "state/lease", 10, PREFIX, here).write(7)
    shutil.copytree(tmp_path / "state", tmp_path / "copy")
    assert LeaseFile(tmp_path / "copy/lease", 10, PREFIX, here).read() == 0
    for there in (Machine("two", "boot"), Machine("one", "another boot"), Machine("", "boot")):
        assert LeaseFile(tmp_path / "state/lease", 10, PREFIX, there).read() == 0
    assert LeaseFile(tmp_path / "state/lease", 10, PREFIX, here).read() == 7


@pytest.mark.parametrize("place", ["", "boot {}"])
def test_lease_of_an_earlier_version_is_taken_over_and_recorded_as_ours(path, place):
    old = {"id": 7, "ttl": 10, "prefix": PREFIX} | ({"place": place.format(path.parent.stat().st_ino)} if place else {})
    path.write_bytes(msgspec.json.encode(old))
    file = LeaseFile(path, 10, PREFIX, Machine("one", "boot"))
    assert (file.read(), file.found_engine) == (7, "")
    file.engine = "E"
    file.write(7)
    assert LeaseFile(path, 10, PREFIX, Machine("two", "boot")).read() == 0
    again = LeaseFile(path, 10, PREFIX, Machine("one", "boot"))
    assert (again.read(), again.found_engine) == (7, "E")


def test_without_a_path_nothing_is_kept():
    file = LeaseFile(None, 10, PREFIX)
    file.write(7)
    assert file.read() == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="makes files of other users")
@pytest.mark.timeout(10)
@pytest.mark.parametrize("name", ["lease", "lease.draft"])
@pytest.mark.parametrize("kind", ["link", "pipe", "of another user"])
def test_what_is_no_file_of_ours_is_neither_read_nor_written(path, tmp_path, name, kind, caplog):
    LeaseFile(tmp_path / "victim", 10, PREFIX).write(7)
    before = (tmp_path / "victim").read_bytes()
    place = tmp_path / name
    match kind:
        case "link":
            place.symlink_to(tmp_path / "victim")
        case "pipe":
            os.mkfifo(place)
        case "of another user":
            place.write_bytes(before)
            os.chown(place, 65534, 65534)
    file = LeaseFile(path, 10, PREFIX)
    assert file.read() == 0
    assert ("not trusted" in caplog.text) == (place == path)
    file.write(8)
    assert LeaseFile(path, 10, PREFIX).read() == 8
    assert path.lstat().st_mode & 0o777 == 0o600
    assert (tmp_path / "victim").read_bytes() == before
