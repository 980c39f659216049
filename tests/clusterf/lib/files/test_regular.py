import os
import socket
from contextlib import closing
from pathlib import Path

import pytest

from clusterf.lib.files import regular
from clusterf.lib.files.regular import look, move_aside, open_file, read_file, tighten, write_file
from clusterf.lib.files.trusted import UntrustedError

STRANGER = 65534
KINDS = {
    "link": "a symbolic link",
    "dangling": "a symbolic link",
    "pipe": "a named pipe",
    "socket": "a socket",
    "device": "a device",
    "stranger's": "owned by user 65534 (nobody)",
    "hard link": "a file with 2 names",
}

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="makes files of other users"),
    pytest.mark.timeout(10),
]


def make(path, kind):
    """Put something at the path that is no file of ours; what it leads to is `victim` beside it, or would be `new`."""
    victim = path.with_name("victim")
    victim.write_text("precious")
    match kind:
        case "link":
            path.symlink_to(victim)
        case "dangling":
            path.symlink_to(path.with_name("new"))
        case "pipe":
            os.mkfifo(path)
        case "socket":
            with closing(socket.socket(socket.AF_UNIX)) as one:
                one.bind(str(path))
        case "device":
            os.mknod(path, 0o20666, os.makedev(1, 5))
        case "stranger's":
            path.write_text("theirs")
            os.chown(path, STRANGER, STRANGER)
        case "hard link":
            path.hardlink_to(victim)


@pytest.fixture(params=KINDS)
def bad(request, tmp_path):
    path = tmp_path / "state"
    make(path, request.param)
    return path, KINDS[request.param]


def untouched(path):
    return path.with_name("victim").read_text() == "precious" and not path.with_name("new").exists()


def test_missing_file_is_none_and_is_made_for_its_owner_only(tmp_path):
    assert look(tmp_path / "state") is None
    os.close(open_file(tmp_path / "state", os.O_WRONLY | os.O_CREAT))
    assert look(tmp_path / "state").st_mode & 0o777 == 0o600


@pytest.mark.parametrize("flags", [os.O_RDONLY, os.O_WRONLY, os.O_WRONLY | os.O_CREAT | os.O_TRUNC])
def test_what_is_no_file_of_ours_is_not_opened(bad, flags):
    path, reason = bad
    before = os.lstat(path)
    for action in (lambda: open_file(path, flags), lambda: look(path), lambda: read_file(path), lambda: tighten(path)):
        with pytest.raises(UntrustedError) as caught:
            action()
        assert caught.value.strerror == f"{path}: not trusted: {reason}"
    assert os.lstat(path).st_mode == before.st_mode
    assert untouched(path)


def test_what_appears_after_the_look_is_not_opened_either(bad, monkeypatch):
    path, _ = bad
    monkeypatch.setattr(regular, "look", lambda *_: None)
    descriptors = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(OSError, match=r"not trusted|Too many levels|No such device"):
        open_file(path, os.O_WRONLY | os.O_CREAT)
    assert len(list(Path("/proc/self/fd").iterdir())) == descriptors
    assert untouched(path)


def test_what_is_no_file_of_ours_is_replaced(bad):
    path, _ = bad
    write_file(path, b"ours")
    assert read_file(path) == b"ours"
    assert look(path).st_mode & 0o777 == 0o600
    assert untouched(path)


def test_what_is_at_the_name_of_a_draft_is_replaced(tmp_path):
    make(tmp_path / "state.draft", "link")
    write_file(tmp_path / "state", b"ours")
    assert untouched(tmp_path / "state")
    assert read_file(tmp_path / "state") == b"ours"


def test_what_is_no_file_of_ours_is_moved_aside_as_it_is(bad):
    path, _ = bad
    before = os.lstat(path)
    assert move_aside(path) == path.with_name("state.damaged")
    assert os.lstat(path.with_name("state.damaged")).st_ino == before.st_ino
    assert look(path) is None
    move_aside(path)
    assert untouched(path)


def test_directory_is_an_error_and_stays(tmp_path):
    (tmp_path / "state").mkdir()
    for action in (look, read_file, tighten, lambda path: write_file(path, b"")):
        with pytest.raises(IsADirectoryError):
            action(tmp_path / "state")


@pytest.mark.parametrize("restrict", [tighten, lambda path: os.close(open_file(path, os.O_RDONLY)), read_file])
def test_file_of_an_earlier_version_is_taken_from_all_others(tmp_path, restrict):
    path = tmp_path / "state"
    path.touch()
    path.chmod(0o644)
    restrict(path)
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(("number", "is_fatal"), [(1, False), (30, False), (5, True)])
def test_mode_of_a_file_on_a_disk_that_takes_nothing_stays(tmp_path, monkeypatch, number, is_fatal):
    def refuse(file, mode):
        raise OSError(number, os.strerror(number))

    path = tmp_path / "state"
    path.write_text("x")
    path.chmod(0o644)
    monkeypatch.setattr(os, "chmod", refuse)
    if is_fatal:
        with pytest.raises(OSError, match="Input/output"):
            read_file(path)
    else:
        assert read_file(path) == b"x"


def test_missing_file_is_not_tightened(tmp_path):
    tighten(tmp_path / "state")
    assert list(tmp_path.iterdir()) == []


def test_file_is_read_up_to_a_limit(tmp_path):
    (tmp_path / "state").write_bytes(b"x" * 100)
    assert read_file(tmp_path / "state", limit=10) == b"x" * 10


def test_file_of_another_user_of_ours_is_taken_from_all_others_only_by_its_descriptor(tmp_path, monkeypatch):
    """At a path in a directory of that user there may be another one at once."""
    monkeypatch.setattr(regular, "owners", lambda: {0, STRANGER})
    path = tmp_path / "state"
    path.touch()
    path.chmod(0o644)
    os.chown(path, STRANGER, STRANGER)
    tighten(path)
    assert path.stat().st_mode & 0o777 == 0o644
    os.close(open_file(path, os.O_RDONLY))
    assert path.stat().st_mode & 0o777 == 0o600
