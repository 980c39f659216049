"""Run a command under the restrictions of a systemd unit: `restricted.py SETTINGS COMMAND…`, as root.

SETTINGS are JSON, made by `tests.system.support.unit`. Each is imposed as systemd does it: a mount namespace, sets of
capabilities, prctl, and system call filters by libseccomp, which every Debian has. Imports nothing of ours.
"""

import ctypes
import errno
import json
import os
import socket
import struct
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = ["SWITCHES"]

SWITCHES = frozenset(
    {
        *("NoNewPrivileges", "ProtectSystem", "ProtectHome", "PrivateTmp", "PrivateDevices", "ProtectControlGroups"),
        *("ProtectKernelLogs", "RestrictNamespaces", "LockPersonality", "MemoryDenyWriteExecute", "RestrictRealtime"),
        "RestrictSUIDSGID",
    }
)
"""Settings that are on or off here."""

_NEWNS = 0x00020000
_NAMESPACES = (0x80, _NEWNS, 0x02000000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000)
_RDONLY, _NOSUID, _NOEXEC, _BIND, _REC, _PRIVATE = 0x1, 0x2, 0x8, 0x1000, 0x4000, 0x40000
_MOUNT_SETATTR, _AT_FDCWD, _AT_RECURSIVE, _MOUNT_ATTR_RDONLY = 442, -100, 0x8000, 0x1
_CAPBSET_READ, _CAPBSET_DROP, _KEEPCAPS, _NO_NEW_PRIVS, _AMBIENT, _MDWE = 23, 24, 8, 38, 47, 65
_ALLOW = 0x7FFF0000
_NE, _EQ, _GE, _MASKED = 1, 4, 5, 7  # enum scmp_compare
_DEVICES = ("null", "zero", "full", "random", "urandom", "tty", "pts", "shm")
_HOMES, _TEMPORARY = ("/home", "/root", "/run/user"), ("/tmp", "/var/tmp")

_libc = ctypes.CDLL(None, use_errno=True)


class _Comparison(ctypes.Structure):
    """Of struct scmp_arg_cmp: an argument, how it is compared, and two values."""

    _fields_ = (("arg", ctypes.c_uint), ("op", ctypes.c_int), ("a", ctypes.c_uint64), ("b", ctypes.c_uint64))


class _Filter:
    """A filter of system calls, which does `otherwise` with calls that have no rule."""

    def __init__(self, otherwise: int = _ALLOW) -> None:
        self._library = ctypes.CDLL("libseccomp.so.2")
        self._library.seccomp_init.restype = ctypes.c_void_p
        self._context = ctypes.c_void_p(self._library.seccomp_init(otherwise))

    def add(self, action: int, call: str, *comparisons: tuple[int, int, int, int]) -> None:
        number = self._library.seccomp_syscall_resolve_name(call.encode())
        if number >= 0:  # else this machine has no such call
            array = (_Comparison * len(comparisons))(*comparisons)
            done = self._library.seccomp_rule_add_array(self._context, action, number, len(array), array)
            assert done == 0, (call, done)

    def refuse(self, calls: str, *comparisons: tuple[int, int, int, int], error: int = errno.EPERM) -> None:
        for call in calls.split():
            self.add(_error(error), call, *comparisons)

    def load(self) -> None:
        done = self._library.seccomp_load(self._context)
        assert done == 0, os.strerror(-done)


def _error(number: int) -> int:
    return 0x00050000 | number


def _check(result: int, what: str) -> None:
    if result < 0:
        raise OSError(ctypes.get_errno(), f"{what}: {os.strerror(ctypes.get_errno())}")


def _mount(source: str, target: str | Path, kind: str = "", flags: int = 0, data: str = "") -> None:
    words = [str(word).encode() for word in (source, target, kind)]
    _check(_libc.mount(*words, ctypes.c_ulong(flags), data.encode()), f"mount {source} {target}")


def _set_read_only(path: str, *, on: bool) -> None:
    attributes = struct.pack("=QQQQ", *((_MOUNT_ATTR_RDONLY, 0) if on else (0, _MOUNT_ATTR_RDONLY)), 0, 0)
    arguments = (_AT_FDCWD, path.encode(), _AT_RECURSIVE, attributes, len(attributes))
    _check(_libc.syscall(_MOUNT_SETATTR, *arguments), f"mount_setattr {path}")


def _be_in_mounts(settings: Mapping[str, Any]) -> None:
    """Live in a mount namespace, as the unit describes it."""
    _check(_libc.unshare(_NEWNS), "unshare")
    _mount("none", "/", flags=_REC | _PRIVATE)
    shown = [*settings["readable"], *settings["writable"]]
    sources = {path: os.open(path, os.O_PATH) for path in shown}
    devices = {name: os.open(f"/dev/{name}", os.O_PATH) for name in _DEVICES if os.path.lexists(f"/dev/{name}")}
    if settings["ProtectHome"]:
        for path in filter(os.path.isdir, _HOMES):
            _mount("tmpfs", path, "tmpfs", data="mode=711")
    if settings["PrivateTmp"]:
        for path in _TEMPORARY:
            _mount("tmpfs", path, "tmpfs", data="mode=1777")
    for path, fd in sources.items():
        Path(path).mkdir(parents=True, exist_ok=True)
        _mount(f"/proc/self/fd/{fd}", path, flags=_BIND | _REC)
        os.close(fd)
    if settings["PrivateDevices"]:
        _have_devices(devices)
    _protect(settings)


def _protect(settings: Mapping[str, Any]) -> None:
    if settings["ProtectSystem"]:
        _set_read_only("/", on=True)
        for path in (*(_TEMPORARY if settings["PrivateTmp"] else ()), "/dev", "/proc", "/sys"):
            _set_read_only(path, on=False)
        for paths, on in ((settings["readable"], True), (settings["writable"], False)):
            for path in paths:
                _set_read_only(path, on=on)
    if settings["ProtectControlGroups"] and Path("/sys/fs/cgroup").is_mount():
        _set_read_only("/sys/fs/cgroup", on=True)
    if settings["ProtectKernelLogs"]:
        _mount("/dev/null", "/proc/kmsg", flags=_BIND)


def _have_devices(devices: Mapping[str, int]) -> None:
    _mount("tmpfs", "/dev", "tmpfs", flags=_NOSUID | _NOEXEC, data="mode=755")
    for name, fd in devices.items():
        path = Path("/dev", name)
        path.mkdir() if name in {"pts", "shm"} else path.touch()
        _mount(f"/proc/self/fd/{fd}", path, flags=_BIND)
        os.close(fd)
    for name, target in {"fd": "", "stdin": "/0", "stdout": "/1", "stderr": "/2"}.items():
        Path("/dev", name).symlink_to(f"/proc/self/fd{target}")


def _have_capabilities(bounding: Iterable[int], ambient: Iterable[int], user: Sequence[int]) -> None:
    number = 0
    while _libc.prctl(_CAPBSET_READ, number, 0, 0, 0) >= 0:
        if number not in bounding:
            _check(_libc.prctl(_CAPBSET_DROP, number, 0, 0, 0), "bounding set")
        number += 1
    uid, gid = user
    if uid == 0:
        return  # the command has all of the bounding set
    _check(_libc.prctl(_KEEPCAPS, 1, 0, 0, 0), "keepcaps")
    os.setgroups([])
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    low = sum(1 << capability for capability in ambient)
    _check(_libc.capset(struct.pack("=Ii", 0x20080522, 0), struct.pack("=6I", low, low, low, 0, 0, 0)), "capset")
    for capability in ambient:
        _check(_libc.prctl(_AMBIENT, 2, capability, 0, 0), "ambient")


def _filter(settings: Mapping[str, Any]) -> None:
    """Load the filters, the one without which none can be loaded last."""
    if settings["NoNewPrivileges"]:
        _check(_libc.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")
    _refuse_some(settings)
    if settings["system_calls"]:
        listed = _Filter(_error(errno.EPERM))
        for call in settings["system_calls"]:
            listed.add(_ALLOW, call)
        listed.load()


def _refuse_some(settings: Mapping[str, Any]) -> None:
    special = _Filter()
    if settings["families"]:
        allowed = {getattr(socket, name) for name in settings["families"]}
        for family in set(range(64)) - allowed:
            special.refuse("socket", (0, _EQ, family, 0), error=errno.EAFNOSUPPORT)
        special.refuse("socket", (0, _GE, 64, 0), error=errno.EAFNOSUPPORT)
    if settings["RestrictNamespaces"]:
        special.refuse("clone3", error=errno.ENOSYS)
        for flag in _NAMESPACES:
            special.refuse("unshare clone", (0, _MASKED, flag, flag))
        special.refuse("setns")
    if settings["LockPersonality"]:
        special.refuse("personality", (0, _NE, 0, 0))
    if settings["RestrictRealtime"]:
        for policy in (os.SCHED_FIFO, os.SCHED_RR, 6):  # and SCHED_DEADLINE
            special.refuse("sched_setscheduler", (1, _EQ, policy, 0))
    if settings["RestrictSUIDSGID"]:
        _refuse_set_id(special)
    if settings["MemoryDenyWriteExecute"]:
        special.refuse("mmap", (2, _MASKED, 6, 6))
        special.refuse("mprotect pkey_mprotect", (2, _MASKED, 4, 4))
        special.refuse("shmat", (2, _MASKED, 0o100000, 0o100000))
        _libc.prctl(_MDWE, 1, 0, 0, 0)  # from Linux 6.3
    special.load()


def _refuse_set_id(special: _Filter) -> None:
    special.refuse("openat2 fchmodat2", error=errno.ENOSYS)
    for bit in (0o4000, 0o2000):
        for calls, argument in (("chmod fchmod creat mkdir mknod", 1), ("fchmodat mkdirat mknodat", 2)):
            special.refuse(calls, (argument, _MASKED, bit, bit))
        special.refuse("open", (1, _MASKED, os.O_CREAT, os.O_CREAT), (2, _MASKED, bit, bit))
        special.refuse("openat", (2, _MASKED, os.O_CREAT, os.O_CREAT), (3, _MASKED, bit, bit))


def main() -> None:
    settings = json.loads(sys.argv[1])
    _be_in_mounts(settings)
    os.umask(settings["umask"])
    os.chdir("/")
    _have_capabilities(settings["bounding"], settings["ambient"], settings["user"])
    _filter(settings)
    os.execv(sys.argv[2], sys.argv[2:])


if __name__ == "__main__":
    main()
