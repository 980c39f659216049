import ctypes

import pytest

from tests.clusterf.support.confined import attempts

pytestmark = pytest.mark.process

# without it everything is allowed, and nothing is an error
VERSION = max(0, ctypes.CDLL(None).syscall(444, None, 0, 1))


@pytest.fixture
def prologue(tmp_path):
    (tmp_path / "ours").mkdir()
    (tmp_path / "others").write_text("text")
    return f"""
    import os, signal, socket
    from pathlib import Path
    from clusterf.host.landlock import allow_writes_only_below
    place = Path({str(tmp_path)!r})
    listening = socket.socket(socket.AF_UNIX)
    allow_writes_only_below([place / "ours", place / "missing"])
    """


def test_process_writes_only_below_its_directories(prologue, tmp_path):
    tried = {
        "a new file": "(place / 'new').touch()",
        "another file": "(place / 'others').write_text('changed')",
        "the end of another file": "os.truncate(place / 'others', 0)",
        "a removal": "(place / 'others').unlink()",
        "a new directory": "(place / 'directory').mkdir()",
        "a link": "(place / 'link').symlink_to('others')",
        "a new name": "(place / 'ours').rename(place / 'theirs')",
    }
    if VERSION:
        assert attempts(prologue, tried) == dict.fromkeys(tried, "EACCES")
        assert (tmp_path / "others").read_text() == "text"
    allowed = {
        "a new file of ours": "(place / 'ours/new').write_text('new')",
        "a new directory of ours": "(place / 'ours/directory').mkdir()",
        "a new name of ours": "(place / 'ours/new').rename(place / 'ours/directory/newer')",
        "a removal of ours": "(place / 'ours/directory/newer').unlink()",
        "what is read": "(place / 'others').read_text()",
        "nothing": "Path('/dev/null').write_text('')",
    }
    assert set(attempts(prologue, allowed).values()) == {"done"}


def test_process_binds_no_port_of_its_choice(prologue):
    tried = {
        "a port": "socket.socket().bind(('127.0.0.1', 40123))",
        "any port": "socket.socket().bind(('127.0.0.1', 0))",
    }
    assert attempts(prologue, tried) == {"a port": "EACCES" if VERSION >= 4 else "done", "any port": "done"}


def test_process_starts_no_program_and_signals_no_other(prologue):
    tried = {"a signal": "os.kill(os.getppid(), 0)", "a program": "os.execv('/bin/true', ['true'])"}
    if VERSION >= 6:
        assert attempts(prologue, tried) == {"a signal": "EPERM", "a program": "EACCES"}
