"""The locks of a node; each test has lock names of its own, as others run beside it."""

import fcntl
import os
import socket
import subprocess
import sys
import threading
from contextlib import ExitStack

import click
import pytest

from actors.supervision import locks
from actors.supervision.locks import lock_directory, lock_table

HOLD = """
import ctypes, os, socket, sys
lock = socket.socket(socket.AF_UNIX)
lock.bind("\\0" + sys.argv[1])
{drop}
print(flush=True)
sys.stdin.read()
"""
NOBODY = "os.setgroups([]); os.setgid(65534); os.setuid(65534)"


@pytest.fixture
def stack():
    with ExitStack() as stack:
        yield stack


@pytest.fixture(autouse=True)
def name(monkeypatch, tmp_path):
    name = f"test {tmp_path}"
    monkeypatch.setattr(locks, "NAME", name)
    monkeypatch.setattr(locks, "PATIENCE", 0.2)
    return name


@pytest.fixture
def hold(name):
    """Have another process take the lock, after which it may give up what it has."""
    processes = []

    def hold(drop=""):
        command = [sys.executable, "-c", HOLD.format(drop=drop), name]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        processes.append(process)
        assert process.stdout.readline()
        return process.pid

    yield hold
    for process in processes:
        process.communicate()


def test_table_is_locked_until_the_last_descriptor_is_closed(stack):
    with ExitStack() as first:
        inherited = os.dup(lock_table(first))
    with pytest.raises(click.ClickException, match="IPVS table"):
        lock_table(stack)
    os.close(inherited)
    assert lock_table(stack) is not None


@pytest.mark.process
def test_node_that_holds_the_lock_on_the_table_is_named(hold, stack):
    pid = hold()
    expected = rf"another clusterf-node writes this network namespace's IPVS table: pid {pid} \({sys.executable}\)"
    with pytest.raises(click.ClickException, match=expected) as caught:
        lock_table(stack)
    assert caught.value.exit_code == 1


@pytest.mark.process
@pytest.mark.parametrize("drop", [NOBODY, f"{NOBODY}; ctypes.CDLL(None).unshare(0x10000000)"])
def test_process_that_cannot_write_the_table_keeps_no_node_from_it(hold, stack, caplog, drop):
    pid = hold(drop)
    assert lock_table(stack) is None
    assert f"the IPVS table is locked by pid {pid} ({sys.executable})" in caplog.text
    assert "which cannot write it: continuing without the lock" in caplog.text


def test_holder_that_is_not_visible_is_taken_for_a_node(stack, name, monkeypatch):
    monkeypatch.setattr(locks, "_holders", lambda: iter(()))
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(f"\0{name}")
        with pytest.raises(click.ClickException, match="not visible from here"):
            lock_table(stack)


def test_namespace_without_abstract_sockets_has_no_lock(stack, monkeypatch, caplog):
    monkeypatch.setattr(locks, "NAME", "x" * 200)
    monkeypatch.setattr(locks, "_bind", lambda lock: (_ for _ in ()).throw(PermissionError(13, "Permission denied")))
    assert lock_table(stack) is None
    assert "the IPVS table cannot be locked: Permission denied" in caplog.text


def test_table_is_waited_for_while_its_node_stops(stack, monkeypatch):
    monkeypatch.setattr(locks, "PATIENCE", 10)
    first = ExitStack()
    lock_table(first)
    threading.Timer(0.3, first.close).start()
    assert lock_table(stack) is not None


def test_directory_on_a_read_only_disk_is_locked_by_the_file_of_an_earlier_node(tmp_path, stack, monkeypatch):
    (tmp_path / "lock").touch()
    opened = type(tmp_path).open

    def open_to_read(path, mode="r"):
        if mode != "r":
            raise OSError(30, "Read-only file system")
        return opened(path, mode)

    monkeypatch.setattr(type(tmp_path), "open", open_to_read)
    lock_directory(tmp_path, stack)
    with (tmp_path / "lock").open() as other, pytest.raises(BlockingIOError):
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
