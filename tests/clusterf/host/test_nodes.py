import os
import signal
import tempfile
from pathlib import Path

import pytest

from clusterf.host import nodes
from clusterf.host.nodes import Confirmation, confirm_nodes, default_runtime_directory, runtime_directories
from clusterf.lib.files.trusted import UntrustedError

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="makes files of other users")


@pytest.fixture
def own_node(tmp_path):
    """A runtime directory with a node whose process is this one."""
    (tmp_path / f"node-{os.getpid()}-x").mkdir()
    return tmp_path


def test_runtime_directory_of_root_is_below_run(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert default_runtime_directory() == Path("/run/clusterf")


def test_runtime_directory_of_a_unit_is_the_one_that_systemd_made(monkeypatch):
    monkeypatch.setenv("RUNTIME_DIRECTORY", "/run/clusterf-node:/run/other")
    assert default_runtime_directory() == Path("/run/clusterf-node")


@pytest.mark.parametrize(("user", "expected"), [(0, ["clusterf", "clusterf-a", "clusterf-b"]), (7, ["clusterf-7"])])
def test_directories_of_units_are_searched_by_root(monkeypatch, user, expected):
    monkeypatch.setattr(os, "geteuid", lambda: user)
    monkeypatch.setattr(Path, "glob", lambda path, pattern: [path / "clusterf-b", path / "clusterf-a"])
    assert [path.name for path in runtime_directories()] == expected


@pytest.mark.parametrize(("variable", "parent"), [("/run/user/7", "/run/user/7"), (None, tempfile.gettempdir())])
def test_runtime_directory_of_a_user_has_its_number(monkeypatch, variable, parent):
    monkeypatch.setattr(os, "geteuid", lambda: 7)
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    if variable is not None:
        monkeypatch.setenv("XDG_RUNTIME_DIR", variable)
    assert default_runtime_directory() == Path(parent, "clusterf-7")


def test_missing_runtime_directory_has_no_nodes(tmp_path):
    assert list(confirm_nodes([tmp_path / "missing"])) == []


def test_process_that_is_no_supervisor_gets_no_signal(own_node, monkeypatch):
    sent = []
    monkeypatch.setattr(signal, "pidfd_send_signal", lambda fd, number: sent.append(number))
    assert list(confirm_nodes([own_node])) == []
    assert sent == []


def test_supervisor_is_sent_sigusr2(own_node, monkeypatch):
    sent = []
    monkeypatch.setattr(nodes, "_is_supervisor", lambda pid, user: True)
    monkeypatch.setattr(signal, "pidfd_send_signal", lambda fd, number: sent.append(number))
    assert list(confirm_nodes([own_node])) == [Confirmation(os.getpid())]
    assert sent == [signal.SIGUSR2]


def test_supervisor_of_another_user_is_reported_with_the_reason(own_node, monkeypatch):
    def refuse(fd, number):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(nodes, "_is_supervisor", lambda pid, user: True)
    monkeypatch.setattr(signal, "pidfd_send_signal", refuse)
    assert list(confirm_nodes([own_node])) == [Confirmation(os.getpid(), "Operation not permitted")]


@pytest.fixture
def sent(monkeypatch):
    """The signals that were sent, where each process looks like a supervisor of its user."""
    sent = []
    read_bytes = Path.read_bytes
    monkeypatch.setattr(
        Path, "read_bytes", lambda path: b"clusterf-node: supervisor" if path.name == "cmdline" else read_bytes(path)
    )
    monkeypatch.setattr(signal, "pidfd_send_signal", lambda fd, number: sent.append(number))
    before = signal.signal(signal.SIGUSR2, lambda *_: None)
    yield sent
    signal.signal(signal.SIGUSR2, before)


@needs_root
def test_directory_of_a_user_names_processes_of_that_user_only(own_node, sent):
    assert [one.pid for one in confirm_nodes([own_node])] == [os.getpid()]
    sent.clear()
    os.chown(own_node / f"node-{os.getpid()}-x", 65534, 65534)
    assert list(confirm_nodes([own_node])) == []
    os.chown(own_node, 65534, 65534)
    assert list(confirm_nodes([own_node])) == []
    assert sent == []


@needs_root
def test_directory_of_a_user_that_others_may_write_names_none(own_node, sent):
    own_node.chmod(0o1777)
    with pytest.raises(UntrustedError, match="everybody may write to it"):
        list(confirm_nodes([own_node]))
    own_node.chmod(0o700)
    own_node.with_name("theirs").mkdir()
    (own_node.with_name("theirs") / "runtime").symlink_to(own_node)
    os.chown(own_node.with_name("theirs"), 65534, 65534)
    with pytest.raises(UntrustedError, match="theirs: not trusted: owned by user 65534"):
        list(confirm_nodes([own_node.with_name("theirs") / "runtime"]))
    assert sent == []


@needs_root
def test_default_name_that_another_user_took_is_left_to_him(tmp_path, monkeypatch):
    tmp_path.chmod(0o1777)
    for name, user in (("clusterf-7", 65534), ("clusterf-7-a", 65534), ("clusterf-7-b", 7), ("clusterf-7-c", 7)):
        (tmp_path / name).mkdir()
        os.chown(tmp_path / name, user, user)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(os, "geteuid", lambda: 7)
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    assert default_runtime_directory() == tmp_path / "clusterf-7-b"
    assert runtime_directories() == [tmp_path / "clusterf-7-b"]
