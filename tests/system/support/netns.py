"""Network namespaces for tests: IPVS tables are per namespace, and a new one costs no fork."""

import ctypes
import fcntl
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["joined", "network_namespace"]

_CLONE_NEWNET = 0x40000000
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 0x1
_libc = ctypes.CDLL(None, use_errno=True)


@contextmanager
def network_namespace() -> Iterator[None]:
    """Move this thread, and the processes it starts, into a new network namespace with lo up; then back."""
    with _coming_back():
        _check(_libc.unshare(_CLONE_NEWNET))
        _loopback_up()
        yield


@contextmanager
def joined(namespace: Path) -> Iterator[None]:
    """Move this thread, and the processes it starts, into a network namespace that is there; then back."""
    with _coming_back():
        _enter(namespace)
        yield


@contextmanager
def _coming_back() -> Iterator[None]:
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield
    finally:
        try:
            _check(_libc.setns(home, _CLONE_NEWNET))
        finally:
            os.close(home)


def _enter(namespace: Path) -> None:
    there = os.open(namespace, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _check(_libc.setns(there, _CLONE_NEWNET))
    finally:
        os.close(there)


def _check(result: int) -> None:
    if result:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _loopback_up() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        request = struct.pack("16sH14x", b"lo", 0)
        _, flags = struct.unpack("16sH14x", fcntl.ioctl(control, _SIOCGIFFLAGS, request))
        fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", flags | _IFF_UP))
