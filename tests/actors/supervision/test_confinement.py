import os
import pty
import sys
from contextlib import suppress

import pytest

from tests.clusterf.support.confined import ATTEMPT, run_confined

pytestmark = pytest.mark.process

PROLOGUE = """
import os, socket
from pathlib import Path
from actors.base.process import Process
from actors.supervision.confinement import Confinement
from clusterf.host.seccomp import Sockets
from clusterf.host.users import User
process = Process(frozenset([12]), Sockets(frozenset([socket.AF_INET])), None)
def status(*names):
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    print(*(lines[name].split()[0] for name in names))
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_process_becomes_the_user_with_its_capabilities_only():
    printed = run_confined(
        PROLOGUE
        + """
Confinement(user=User(60706, 60707, (60708,)), more=frozenset([2])).apply(process)
status("Uid", "Gid", "Groups", "CapPrm", "CapEff", "CapBnd", "NoNewPrivs", "Seccomp")
attempt(lambda: os.setuid(0))
attempt(lambda: Path("/etc/shadow").read_text())
print(oct(os.umask(0)))
"""
    )
    capabilities = f"{1 << 12 | 1 << 2:016x}"
    first, *rest = printed.splitlines()
    assert first == f"60706 60707 60708 {capabilities} {capabilities} {capabilities} 1 2"
    assert rest == ["EPERM", "done", "0o77"]  # with CAP_DAC_READ_SEARCH it may read all


def test_process_has_no_terminal(tmp_path):
    code = (
        PROLOGUE
        + """
attempt(lambda: open("/dev/tty"))
Confinement().apply(process)
attempt(lambda: open("/dev/tty"))
"""
    )
    file = tmp_path / "code.py"
    file.write_text(ATTEMPT + code)
    pid, terminal = pty.fork()
    if pid == 0:  # a child of its, as of a session's leader the terminal is taken away from all
        os.execv(
            sys.executable,
            [sys.executable, "-c", f"import subprocess; subprocess.run([{sys.executable!r}, {str(file)!r}])"],
        )
    printed = b""
    with suppress(OSError):  # at the end
        while data := os.read(terminal, 1000):
            printed += data
    os.close(terminal)
    os.waitpid(pid, 0)
    assert printed.split() == [b"done", b"ENXIO"]


def test_process_that_stays_who_it_is_is_confined_otherwise(tmp_path):
    printed = run_confined(
        PROLOGUE
        + f"""
Confinement(writable=({str(tmp_path)!r},)).apply(process)
status("Uid", "NoNewPrivs", "Seccomp")
attempt(lambda: Path({str(tmp_path)!r}, "new").touch())
attempt(lambda: os.fork())
attempt(lambda: socket.socket(socket.AF_UNIX))
"""
    )
    assert printed.splitlines() == [f"{os.getuid()} 1 2", "done", "EPERM", "EAFNOSUPPORT"]
