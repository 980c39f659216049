"""Directories as strangers, who are other users here, can prepare them for root."""

import grp
import os
import pwd
from types import SimpleNamespace

import pytest

from clusterf.lib.files import trusted
from clusterf.lib.files.trusted import (
    UntrustedError,
    check_directory,
    check_file,
    is_roots_alone,
    make_directory,
    owners,
    trust,
)

STRANGER = 65534

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="makes files of other users")


@pytest.fixture
def sticky(tmp_path):
    """A directory like /tmp."""
    path = tmp_path / "tmp"
    path.mkdir()
    path.chmod(0o1777)
    return path


@pytest.fixture
def others():
    yield trust
    trusted._others.clear()


def test_directory_is_made_for_its_owner_only_with_those_above_it(tmp_path):
    make_directory(tmp_path / "a/b/c")
    assert (tmp_path / "a/b/c").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "a/b").stat().st_mode & 0o022 == 0
    make_directory(tmp_path / "a/b/c")
    check_directory(tmp_path / "a/b/c")


def test_directory_in_a_sticky_one_is_ours_if_we_made_it(sticky):
    make_directory(sticky / "ours/state")
    check_directory(sticky / "ours/state")


@pytest.mark.parametrize("below", ["", "state", "a/state"])
def test_directory_of_another_user_is_refused_and_nothing_is_made_in_it(sticky, below):
    theirs = sticky / "clusterf-0"
    theirs.mkdir()
    os.chown(theirs, STRANGER, STRANGER)
    with pytest.raises(UntrustedError) as caught:
        make_directory(theirs / below)
    assert caught.value.strerror == f"{theirs}: not trusted: owned by user 65534 (nobody)"
    assert list(theirs.iterdir()) == []


@pytest.mark.parametrize("target", ["real", "missing"])
def test_link_of_another_user_is_refused_wherever_it_leads(sticky, tmp_path, target):
    (tmp_path / "real").mkdir()
    link = sticky / "clusterf-0"
    link.symlink_to(tmp_path / target)
    os.chown(link, STRANGER, STRANGER, follow_symlinks=False)
    with pytest.raises(UntrustedError, match="clusterf-0: not trusted: a link of user 65534"):
        make_directory(link)
    assert not (tmp_path / "missing").exists()


def test_links_of_root_are_followed_and_what_they_lead_to_is_judged(tmp_path, sticky):
    (tmp_path / "run").mkdir()
    (tmp_path / "var").mkdir()
    (tmp_path / "var/run").symlink_to("../run")
    (tmp_path / "var/all").symlink_to(tmp_path / "var")
    make_directory(tmp_path / "var/all/run/clusterf")
    assert (tmp_path / "run/clusterf").is_dir()
    (tmp_path / "var/shared").symlink_to(sticky)
    (sticky / "state").mkdir()
    os.chown(sticky / "state", STRANGER, STRANGER)
    with pytest.raises(UntrustedError, match="tmp/state: not trusted: owned by"):
        make_directory(tmp_path / "var/shared/state")


def test_links_in_a_circle_end(tmp_path):
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(OSError, match="Too many levels"):
        make_directory(tmp_path / "a")


def test_dots_lead_to_the_directory_above(tmp_path):
    (tmp_path / "a").mkdir()
    make_directory(tmp_path / "a/../b/../../" / tmp_path.name / "c")
    assert (tmp_path / "c").is_dir()


def test_file_is_no_directory(tmp_path):
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file/x", tmp_path / "file/.."):
        with pytest.raises(NotADirectoryError):
            make_directory(path)


@pytest.mark.parametrize(("mode", "who"), [(0o777, "everybody"), (0o702, "everybody"), (0o770, "group 65534")])
@pytest.mark.parametrize("below", ["", "state"])
def test_directory_that_others_may_write_is_refused_with_what_is_below_it(tmp_path, mode, who, below):
    path = tmp_path / "open"
    (path / "state").mkdir(parents=True)
    os.chown(path, 0, STRANGER)
    path.chmod(mode)
    with pytest.raises(UntrustedError, match=rf"open: not trusted: {who}.* may write to it"):
        make_directory(path / below)


def test_sticky_directory_itself_is_refused_as_others_may_make_files_in_it(sticky):
    with pytest.raises(UntrustedError, match="tmp: not trusted: everybody may write to it"):
        make_directory(sticky)
    check_directory(sticky, shared=True)


def test_directory_that_the_group_of_root_may_write_is_trusted(tmp_path):
    (tmp_path / "state").mkdir()
    (tmp_path / "state").chmod(0o770)
    check_directory(tmp_path / "state")


@pytest.mark.parametrize(
    ("members", "primary", "is_trusted"),
    [
        ([], [7001], True),
        (["one"], [7001], True),
        (["two"], [7001], False),  # another one was added
        ([], [7001, 7002], False),  # another one has it, too
        ([], [], False),  # nobody has it: programs and services may
        (["gone"], [7001], False),
    ],
)
def test_group_that_a_user_of_ours_has_alone_is_no_other(tmp_path, monkeypatch, others, members, primary, is_trusted):
    others([7001])
    names = {7001: "one", 7002: "two"}
    users = [SimpleNamespace(pw_uid=u, pw_name=n, pw_gid=7001 if u in primary else 9) for u, n in names.items()]
    monkeypatch.setattr(pwd, "getpwall", lambda: users)
    monkeypatch.setattr(grp, "getgrgid", lambda gid: SimpleNamespace(gr_name="one", gr_mem=members))
    (tmp_path / "state").mkdir()
    os.chown(tmp_path / "state", 7001, 7001)
    (tmp_path / "state").chmod(0o770)
    if is_trusted:
        check_directory(tmp_path / "state")
    else:
        with pytest.raises(UntrustedError, match=r"group 7001 \(one\) may write"):
            check_directory(tmp_path / "state")


def test_users_of_the_node_are_trusted(sticky, others):
    (sticky / "state").mkdir()
    os.chown(sticky / "state", STRANGER, STRANGER)
    check_directory(sticky / "state", also=[STRANGER])
    with pytest.raises(UntrustedError):
        check_directory(sticky / "state")
    others([STRANGER])
    assert owners() == {0, STRANGER}
    check_directory(sticky / "state")


def test_whoever_is_faster_has_the_name(sticky, monkeypatch):
    """Between the look and the making another user takes the name."""
    mkdir = type(sticky).mkdir

    def outrun(path, mode):
        mkdir(path)
        os.chown(path, STRANGER, STRANGER)
        return mkdir(path, mode)

    monkeypatch.setattr(type(sticky), "mkdir", outrun)
    with pytest.raises(UntrustedError, match="clusterf-0: not trusted: owned by user 65534"):
        make_directory(sticky / "clusterf-0")


def test_name_of_a_component_is_printable(sticky):
    path = sticky / "a\n\x1b[31mb"
    path.mkdir()
    os.chown(path, STRANGER, STRANGER)
    with pytest.raises(UntrustedError) as caught:
        make_directory(path)
    assert str(caught.value.strerror).isprintable()


@pytest.mark.parametrize("kind", ["directory", "link"])
def test_users_without_a_number_lead_to_a_directory_and_own_none(tmp_path, sticky, monkeypatch, kind):
    """In a user namespace, where the machine's root is 65534, and each other user, too."""
    monkeypatch.setattr(trusted, "_unmapped", lambda: frozenset({STRANGER}))
    for parent in (tmp_path, sticky):
        entry = parent / "home"
        entry.mkdir() if kind == "directory" else entry.symlink_to(tmp_path)
        os.chown(entry, STRANGER, STRANGER, follow_symlinks=False)
    make_directory(tmp_path / "home/state")
    with pytest.raises(UntrustedError, match="tmp/home: not trusted"):
        make_directory(sticky / "home/state")
    if kind == "directory":
        with pytest.raises(UntrustedError, match="home: not trusted: owned by"):
            make_directory(tmp_path / "home")


@pytest.mark.parametrize(
    ("uid_map", "expected"),
    [
        ("         0          0 4294967295\n", set()),
        ("0 100000 65536\n", set()),
        ("0 1000 1\n", {65534}),
        ("0 1000 1\n1 100000 65533\n", {65534}),
    ],
)
def test_overflow_id_is_a_user_of_its_own_where_it_has_a_number(monkeypatch, uid_map, expected):
    texts = {"/proc/sys/kernel/overflowuid": "65534\n", "/proc/self/uid_map": uid_map}
    monkeypatch.setattr("pathlib.Path.read_text", lambda path: texts[str(path)])
    assert trusted._unmapped.__wrapped__() == expected


@pytest.mark.parametrize(("mode", "owner", "trusted"), [(0o644, 0, True), (0o646, 0, False), (0o644, STRANGER, False)])
def test_file_is_trusted_that_nobody_else_may_write(sticky, mode, owner, trusted):
    file = sticky / "node.toml"
    file.touch()
    file.chmod(mode)
    os.chown(file, owner, 0)
    (sticky / "link").symlink_to(file)
    for path in (file, sticky / "link"):
        if trusted:
            check_file(path)
        else:
            with pytest.raises(UntrustedError):
                check_file(path)


def test_file_in_a_directory_of_another_user_is_not_trusted_whatever_leads_there(sticky):
    theirs = sticky / "theirs"
    theirs.mkdir()
    (theirs / "node.toml").touch()
    os.chown(theirs, STRANGER, STRANGER)
    (sticky / "link").symlink_to(theirs / "node.toml")
    for path in (theirs / "node.toml", sticky / "link"):
        with pytest.raises(UntrustedError):
            check_file(path)


def test_path_is_roots_alone_if_no_user_of_ours_can_have_it_lead_elsewhere(tmp_path, sticky, others):
    others([STRANGER])
    (sticky / "state").mkdir()
    assert is_roots_alone(sticky / "state")
    (tmp_path / "link").symlink_to(sticky)
    assert is_roots_alone(tmp_path / "link/state")
    os.chown(tmp_path / "link", STRANGER, STRANGER, follow_symlinks=False)
    assert not is_roots_alone(tmp_path / "link/state")
    os.chown(sticky / "state", STRANGER, STRANGER)
    assert not is_roots_alone(sticky / "state")
    assert not is_roots_alone(sticky / "missing")
