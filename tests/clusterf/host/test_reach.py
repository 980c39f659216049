import os

import pytest

from clusterf.host.reach import first_closed, may_read, may_read_all
from clusterf.host.users import User

SOMEBODY = User(60706, 60706, (60800,))
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="makes files of other users")


@pytest.fixture
def place(tmp_path):
    for directory in (tmp_path, *tmp_path.parents):
        if directory.name.startswith("pytest-"):
            break
    root = tmp_path / "root"
    (root / "open/in").mkdir(parents=True)
    (root / "open/in/file").write_text("text")
    (root / "closed/in").mkdir(parents=True)
    (root / "closed/in/file").write_text("text")
    (root / "closed").chmod(0o700)
    (root / "to-closed").symlink_to("closed/in")
    (root / "closed/to-open").symlink_to(root / "open/in")
    return root


@pytest.fixture(autouse=True)
def opened(monkeypatch, tmp_path):
    """Have the directories of the tests themselves be open, which pytest makes for their owner only."""
    for directory in tmp_path.parents:
        if str(directory).startswith("/tmp/pytest") and directory.stat().st_mode & 0o1 == 0:
            directory.chmod(directory.stat().st_mode | 0o11)
    tmp_path.chmod(0o755)


def test_directory_that_only_root_enters_is_in_the_way(place):
    assert first_closed(place / "open/in", SOMEBODY) is None
    assert first_closed(place / "closed", SOMEBODY) is None  # it is the last one, which is not entered
    for path in ("closed/in", "closed/in/file", "closed/missing", "to-closed/file", "closed/to-open/file"):
        assert first_closed(place / path, SOMEBODY) == place / "closed", path


def test_missing_path_is_open_as_far_as_it_exists(place):
    assert first_closed(place / "missing/file", SOMEBODY) is None


@pytest.mark.parametrize(
    ("mode", "owner", "group", "readable"),
    [
        (0o644, 0, 0, True),
        (0o640, 0, 0, False),
        (0o640, 0, 60706, True),
        (0o640, 0, 60800, True),
        (0o400, 60706, 0, True),
        (0o044, 60706, 0, False),  # its owner's rights count, not those of others
    ],
)
def test_file_is_readable_by_its_mode(place, mode, owner, group, readable):
    file = place / "open/in/file"
    file.chmod(mode)
    os.chown(file, owner, group)
    assert may_read(file, SOMEBODY) is readable
    assert may_read_all(place / "open", SOMEBODY) is readable


def test_tree_is_readable_with_all_its_directories_and_what_links_lead_to(place):
    assert may_read_all(place / "open", SOMEBODY)
    (place / "open/link").symlink_to("in/file")
    assert may_read_all(place / "open", SOMEBODY)
    (place / "open/link2").symlink_to("../closed/in/file")
    assert not may_read_all(place / "open", SOMEBODY)
    (place / "open/link2").unlink()
    (place / "open/in").chmod(0o711)
    assert not may_read_all(place / "open", SOMEBODY)


def test_missing_file_is_no_obstacle(place):
    assert may_read(place / "open/missing", SOMEBODY)
    assert may_read_all(place / "missing", SOMEBODY)
