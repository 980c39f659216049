"""Landlock (landlock(7)): a process writes nothing but what lies below the directories that it is given.

It may read what its user may read. Beyond files it is kept from signals to others and from
their abstract sockets. On a kernel without Landlock, or with less of it, what is missing is not
restricted. The numbers are those of `linux/landlock.h`; those of the system calls are the same everywhere.
"""

import ctypes
import errno
import os
import struct
from collections.abc import Iterable
from pathlib import Path

__all__ = ["allow_writes_only_below"]

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_PR_SET_NO_NEW_PRIVS = 38
_VERSION = 1  # LANDLOCK_CREATE_RULESET_VERSION
_PATH_BENEATH, _NET_PORT = 1, 2  # LANDLOCK_RULE_...
_EXECUTE, _WRITE_FILE = 1 << 0, 1 << 1
_MAKE_ANYTHING = sum(1 << bit for bit in (4, 5, 6, 7, 8, 9, 10, 11, 12))  # to remove and make files of any kind
_MAKE_FILES = sum(1 << bit for bit in (4, 5, 7, 8))  # REMOVE_DIR, REMOVE_FILE, MAKE_DIR, MAKE_REG
_REFER, _TRUNCATE, _IOCTL_DEVICE = 1 << 13, 1 << 14, 1 << 15  # since versions 2, 3 and 5
_BIND_TCP = 1 << 0  # since version 4
_SCOPED = 1 << 0 | 1 << 1  # abstract sockets and signals, since version 6
_DEVICES = ("/dev/null",)


def allow_writes_only_below(directories: Iterable[Path]) -> int:
    """Refuse this thread, and those that it starts, to write elsewhere, for good; return the version, 0 without.

    A directory that is missing, or out of reach, is left out. Ports that are not the kernel's to choose are not bound.
    To be called before threads are started, by who may open the directories. Raises OSError.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    version = libc.syscall(_CREATE_RULESET, None, 0, _VERSION)
    if version < 0:
        if ctypes.get_errno() in {errno.ENOSYS, errno.EOPNOTSUPP}:
            return 0
        raise _error()
    handled = _EXECUTE | _WRITE_FILE | _MAKE_ANYTHING
    since = ((2, _REFER), (3, _TRUNCATE), (5, _IOCTL_DEVICE))
    handled |= sum(right for first, right in since if version >= first)
    ports = _BIND_TCP if version >= 4 else 0
    scoped = _SCOPED if version >= 6 else 0
    # an earlier kernel takes a shorter struct landlock_ruleset_attr
    size = 24 if version >= 6 else 16 if version >= 4 else 8
    rules = libc.syscall(_CREATE_RULESET, struct.pack("=QQQ", handled, ports, scoped), size, 0)
    if rules < 0:
        raise _error()
    try:
        for directory in directories:
            _allow(libc, rules, directory, handled & (_WRITE_FILE | _MAKE_FILES | _REFER | _TRUNCATE))
        for device in _DEVICES:
            _allow(libc, rules, Path(device), handled & (_WRITE_FILE | _TRUNCATE))
        if ports:  # struct landlock_net_port_attr; port 0, with an address of the probing side
            _add_rule(libc, rules, _NET_PORT, struct.pack("=QQ", ports, 0))
        if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 or libc.syscall(_RESTRICT_SELF, rules, 0) != 0:
            raise _error()
    finally:
        os.close(rules)
    return int(version)


def _allow(libc: ctypes.CDLL, rules: int, path: Path, rights: int) -> None:
    try:
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except (FileNotFoundError, PermissionError):
        return
    try:
        # struct landlock_path_beneath_attr, which is packed
        _add_rule(libc, rules, _PATH_BENEATH, struct.pack("=Qi", rights, fd))
    finally:
        os.close(fd)


def _add_rule(libc: ctypes.CDLL, rules: int, kind: int, rule: bytes) -> None:
    if libc.syscall(_ADD_RULE, rules, kind, rule, 0) != 0:
        raise _error()


def _error() -> OSError:
    code = ctypes.get_errno()
    return OSError(code, f"landlock: {os.strerror(code)}")
