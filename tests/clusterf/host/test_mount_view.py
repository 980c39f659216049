import os

import pytest

from tests.clusterf.support.confined import run_confined

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can make mount namespaces"),
]

PROLOGUE = """
import os, sys
from pathlib import Path
from clusterf.host.mount_view import MountView, enter
place = Path({place!r})

def look(view, code):
    "Print what a user without privileges sees in the view."
    sys.stdout.flush()
    if os.fork() == 0:
        enter(view.namespace)
        os.setgroups([])
        os.setgid(60707)
        os.setuid(60707)
        exec(code)
        sys.stdout.flush()
        os._exit(0)
    os.wait()
"""


@pytest.fixture
def place(tmp_path):
    """A directory that only root enters."""
    (tmp_path / "a/shown").mkdir(parents=True)
    (tmp_path / "a/shown/file").write_text("shown")
    (tmp_path / "a/hidden").mkdir()
    return tmp_path


def run(place, code):
    # (above it, there are others that only root enters)
    closed = next(directory for directory in [*reversed(place.parents), place] if not directory.stat().st_mode & 1)
    return run_confined(PROLOGUE.format(place=str(place)) + f"closed = Path({str(closed)!r})\n" + code).splitlines()


def test_only_what_is_shown_is_found_below_a_closed_directory(place):
    printed = run(
        place,
        "view = MountView([closed], [place / 'a/shown'])\n"
        'look(view, \'print((place / "a/shown/file").read_text()); print((place / "a/hidden").exists())\')\n'
        "print((place / 'a/hidden').exists())\n",
    )
    assert printed == ["shown", "False", "True"]


def test_directory_that_was_replaced_is_shown_as_it_is_now(place):
    printed = run(
        place,
        "view = MountView([closed], [place / 'a/shown', place / 'a/later'])\n"
        "print(view.refresh())\n"
        "(place / 'a/shown').rename(place / 'a/before')\n"
        "print(view.refresh())\n"
        "(place / 'a/shown').mkdir()\n"
        "(place / 'a/shown/new').touch()\n"
        "(place / 'a/later').mkdir()\n"
        "print(view.refresh())\n"
        'look(view, \'print(os.listdir(place / "a/shown"), os.listdir(place / "a/later"))\')\n',
    )
    assert printed == ["False", "False", "True", "['new'] []"]


def test_directory_can_be_written_once_its_file_system_can(place):
    printed = run(
        place,
        "import subprocess\n"
        "def mount(*options): subprocess.run(['mount', *options, place / 'a/shown'], check=True)\n"
        "os.umask(0)\n"
        "mount('-t', 'tmpfs', '-o', 'mode=777', 'none')\n"
        "write = 'attempt(lambda: (place / \"a/shown/new\").touch())'\n"
        "try:\n"
        "    mount('-o', 'remount,ro')\n"
        "    view = MountView([closed], [place / 'a/shown'])\n"
        "    look(view, write)\n"
        "    mount('-o', 'remount,rw')\n"
        "    print(view.refresh())\n"
        "    look(view, write)\n"
        "finally:\n"
        "    subprocess.run(['umount', '--lazy', place / 'a/shown'], check=True)\n",
    )
    assert printed == ["EROFS", "True", "done"]


def test_directory_is_found_by_a_link_too(place):
    (place / "a/link").symlink_to("shown")
    printed = run(
        place,
        "view = MountView([closed], [place / 'a/link', place / 'a/shown'])\n"
        'look(view, \'print((place / "a/link/file").read_text(), (place / "a/shown/file").read_text())\')\n',
    )
    assert printed == ["shown shown"]


def test_process_stays_in_its_working_directory(place):
    printed = run(
        place,
        "os.chdir('/usr/bin')\nview = MountView([closed], [place / 'a/shown'])\nlook(view, 'print(os.getcwd())')\n",
    )
    assert printed == ["/usr/bin"]


def test_without_the_capability_there_is_no_view(place):
    printed = run(
        place,
        "from clusterf.host.capabilities import drop_all_but\n"
        "before = len(os.listdir('/proc/self/fd'))\n"
        "drop_all_but([])\n"
        "attempt(lambda: MountView([closed], [place / 'a/shown']))\n"
        "print(len(os.listdir('/proc/self/fd')) - before)\n",
    )
    assert printed == ["EPERM", "0"]
