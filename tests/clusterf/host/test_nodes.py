import os
import signal
import tempfile
from pathlib import Path

import pytest

from clusterf.host import nodes
from clusterf.host.nodes import Confirmation, confirm_nodes, default_runtime_directory, runtime_directories


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
