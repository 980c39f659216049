import platform
import re
from pathlib import Path

import pytest

from clusterf.host import seccomp
from tests.clusterf.support.confined import attempts, run_confined

pytestmark = pytest.mark.process

PROLOGUE = """
import os, signal, socket, threading, ctypes, fcntl, resource
from clusterf.host.capabilities import drop_all_but
from clusterf.host.seccomp import Sockets, restrict
drop_all_but([])
assert restrict(Sockets(frozenset([socket.AF_INET, socket.AF_NETLINK]), frozenset([0]))), "not on this machine"
libc = ctypes.CDLL(None, use_errno=True)
def call(number, *arguments):
    if libc.syscall(number, *arguments) < 0:
        raise OSError(ctypes.get_errno(), "")
"""
REFUSED = {
    "a program": "os.execv('/bin/true', ['true'])",
    "a process": "os.fork()",
    "a signal to another process": "os.kill(os.getppid(), 0)",
    "a signal to all processes": "os.kill(-1, 0)",
    "a signal by descriptor": "os.pidfd_open(os.getppid())",
    "others' limits": "resource.prlimit(os.getppid(), resource.RLIMIT_NOFILE)",
    "others' priority": "os.setpriority(os.PRIO_PROCESS, os.getppid(), 10)",
    "others' memory": "call(310, os.getppid(), None, 0, None, 0, 0)",
    "tracing": "call(101, 16, os.getppid(), None, None)",
    "a mount": "call(165, b'x', b'/tmp', b'tmpfs', 0, None)",
    "a namespace": "call(272, 0x10000000)",
    "a file by its handle": "call(304, 0, None, 0)",
    "a keyring": "call(250, 0, 0)",
    "io_uring": "call(425, 1, None)",
    "a connection to accept": "call(50, 0, 1)",
    "typing into the terminal": "fcntl.ioctl(0, 0x5412, b'x')",
    "changing the terminal": "fcntl.ioctl(0, 0x5402, b'x' * 60)",
    "being in the terminal's foreground": "fcntl.ioctl(0, 0x5410, b'xxxx')",
    "a signal to who owns a descriptor": "fcntl.fcntl(0, fcntl.F_SETOWN, os.getppid())",
    "a signal of choice": "fcntl.fcntl(0, fcntl.F_SETSIG, signal.SIGKILL)",
    "a signal to a thread": "fcntl.fcntl(0, 15, b'x' * 8)",
    "a signal to who owns a socket": "fcntl.ioctl(0, 0x8901, b'xxxx')",
    "a system call of another ABI": "call(0x40000000 | 39)",
}
REFUSED_SOCKETS = {
    "a local socket": "socket.socket(socket.AF_UNIX)",
    "a packet socket": "socket.socket(socket.AF_PACKET, socket.SOCK_RAW)",
    "netlink of another protocol": "socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 16)",
    "an IPv6 socket": "socket.socket(socket.AF_INET6)",
    "a pair of another family": "socket.socketpair(socket.AF_INET)",
}
ALLOWED = {
    "a thread": "threading.Thread(target=print, args=['']).start()",
    "a signal to itself": "os.kill(os.getpid(), 0)",
    "a socket": "socket.socket(socket.AF_INET)",
    "netlink": "socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)",
    "a pair": "socket.socketpair()",
    "its own limits": "resource.prlimit(0, resource.RLIMIT_NOFILE)",
    "a flag of a descriptor": "fcntl.fcntl(0, fcntl.F_SETFD, fcntl.fcntl(0, fcntl.F_GETFD))",
    "whether it is a terminal": "os.isatty(0)",
    "a name": "socket.getaddrinfo('127.0.0.1', 80)",
}
on_x86 = pytest.mark.skipif(platform.machine() != "x86_64", reason="the numbers are those of x86-64")


@on_x86
def test_what_no_process_needs_is_refused():
    assert attempts(PROLOGUE, REFUSED) == dict.fromkeys(REFUSED, "EPERM")


@on_x86
def test_sockets_of_other_kinds_are_refused():
    assert attempts(PROLOGUE, REFUSED_SOCKETS) == dict.fromkeys(REFUSED_SOCKETS, "EAFNOSUPPORT")


@on_x86
def test_what_processes_need_is_allowed():
    assert attempts(PROLOGUE, ALLOWED) == dict.fromkeys(ALLOWED, "done")


@on_x86
def test_filter_cannot_be_undone_and_holds_for_threads():
    printed = run_confined(
        PROLOGUE
        + """
restrict(Sockets(frozenset(socket.AddressFamily)))
thread = threading.Thread(target=attempt, args=[lambda: os.kill(os.getppid(), 0)])
thread.start()
thread.join()
attempt(lambda: socket.socket(socket.AF_UNIX))
"""
    )
    assert printed.split() == ["EPERM", "EAFNOSUPPORT"]


@on_x86
def test_only_the_least_priority_may_be_given_and_no_older_process_has_it():
    prologue = PROLOGUE.replace("frozenset([0]))", "frozenset([0])), lowers=True") + (
        "\ndef lower(who, priority=19, which=os.PRIO_PROCESS):"
        "\n    os.setpriority(which, who(), priority)"
        "\ndef of_a_thread():"
        "\n    thread = threading.Thread(target=threading.Event().wait, daemon=True)"
        "\n    thread.start()"
        "\n    return thread.native_id"
        "\n"
    )
    expected = {
        "lower(of_a_thread)": "done",
        "lower(os.getpid)": "done",
        "lower(os.getppid)": "EPERM",
        "lower(lambda: 1)": "EPERM",
        "lower(lambda: 0)": "EPERM",
        "lower(of_a_thread, 18)": "EPERM",
        "lower(os.getpgrp, which=os.PRIO_PGRP)": "EPERM",
        "lower(os.getuid, which=os.PRIO_USER)": "EPERM",
    }
    assert attempts(prologue, {call: call for call in expected}) == expected


def test_process_may_listen_if_it_is_to():
    names = {step.value for step in seccomp.filter_of(seccomp.Sockets(frozenset(), listens=True), 1)}
    assert names.isdisjoint({50, 288})


def test_numbers_are_those_of_the_kernels_headers():
    """Of those that are installed; what the numbers do on this machine is seen above."""
    for column, header in enumerate(("x86_64-linux-gnu/asm/unistd_64.h", "asm-generic/unistd.h")):
        path = Path("/usr/include", header)
        numbers = {}
        text = path.read_text() if path.exists() else ""
        for name, number in re.findall(r"^#define __NR(?:3264)?_(\w+)\s+(\d+)", text, re.MULTILINE):
            numbers.setdefault(name, int(number))
        ours = {name: pair[column] for name, pair in seccomp._NUMBERS.items() if name in numbers}
        assert ours == {name: numbers[name] for name in ours}
