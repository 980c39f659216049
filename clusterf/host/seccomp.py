"""A filter of system calls (seccomp(2)): what no process of a node has a use for is refused, whoever asks for it.

A process that runs an attacker's code can still do what its actors do, but start no
program, signal no other process, read nobody's memory, mount nothing, and open only
the kinds of sockets that it needs. What is refused fails with EPERM, a kind of
socket with EAFNOSUPPORT, so that libraries go on as on a kernel without it.
"""

import ctypes
import errno
import os
import platform
import socket
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

__all__ = ["Sockets", "filter_of", "restrict"]

_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 22, 2  # linux/prctl.h, linux/seccomp.h
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000  # SECCOMP_RET_ALLOW, SECCOMP_RET_ERRNO
# of a classic BPF program (linux/bpf_common.h): load a word, jump by it, return
_LOAD, _AND, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x54, 0x15, 0x35, 0x06
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16  # where they are in struct seccomp_data
_X32 = 0x40000000  # __X32_SYSCALL_BIT: another ABI of x86-64, with numbers of its own
_CLONE_THREAD = 0x00010000  # linux/sched.h
# of ioctl(2): what changes a terminal, or types into it (TIOCSTI, TIOCLINUX, TIOCSPGRP, TIOCSCTTY, TIOCNOTTY, TCSETS
# and its like), and what has the kernel signal another process (FIOSETOWN, SIOCSPGRP)
_REFUSED_CONTROLS = (
    *(0x5412, 0x541C, 0x5410, 0x540E, 0x5422, 0x5402, 0x5403, 0x5404, 0x5406, 0x5407, 0x5408),
    *(0x402C542B, 0x402C542C, 0x402C542D, 0x8901, 0x8902),
)
_LEAST_PRIORITY = 19  # nice(2)
_REFUSED_SETTINGS = (8, 10, 15)  # of fcntl(2), the same: F_SETOWN, F_SETSIG, F_SETOWN_EX


class Sockets(NamedTuple):
    """The kinds of sockets that a process may open: families, and protocols of AF_NETLINK; whether it may listen."""

    families: frozenset[int]
    netlink: frozenset[int] = frozenset()
    listens: bool = False


class _Machine(NamedTuple):
    architecture: int  # AUDIT_ARCH_... of linux/audit.h
    column: int  # of `_NUMBERS`


_MACHINES: Final[Mapping[str, _Machine]] = {"x86_64": _Machine(0xC000003E, 0), "aarch64": _Machine(0xC00000B7, 1)}

# the numbers of system calls on x86-64 (asm/unistd_64.h) and on arm64 (asm-generic/unistd.h), None where there is none
_NUMBERS: Final[Mapping[str, tuple[int | None, int | None]]] = {
    "accept": (43, 202),
    "accept4": (288, 242),
    "clone": (56, 220),
    "clone3": (435, 435),
    "fcntl": (72, 25),
    "ioctl": (16, 29),
    "kill": (62, 129),
    "listen": (50, 201),
    "prlimit64": (302, 261),
    "setpriority": (141, 140),
    "socket": (41, 198),
    "socketpair": (53, 199),
    "tgkill": (234, 131),
    # programs and processes
    "execve": (59, 221),
    "execveat": (322, 281),
    "fork": (57, None),
    "vfork": (58, None),
    # others' processes
    "kcmp": (312, 272),
    "pidfd_getfd": (438, 438),
    "pidfd_open": (434, 434),
    "pidfd_send_signal": (424, 424),
    "process_madvise": (440, 440),
    "process_mrelease": (448, 448),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "ptrace": (101, 117),
    "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240),
    "tkill": (200, 130),
    "ioprio_set": (251, 30),
    "migrate_pages": (256, 238),
    "move_pages": (279, 239),
    "sched_setaffinity": (203, 122),
    "sched_setattr": (314, 274),
    "sched_setparam": (142, 118),
    "sched_setscheduler": (144, 119),
    # file systems and namespaces
    "chroot": (161, 51),
    "fanotify_init": (300, 262),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fsopen": (430, 430),
    "fspick": (433, 433),
    "mknod": (133, None),
    "mknodat": (259, 33),
    "mount": (165, 40),
    "mount_setattr": (442, 442),
    "move_mount": (429, 429),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    "open_tree": (428, 428),
    "pivot_root": (155, 41),
    "setns": (308, 268),
    "umount2": (166, 39),
    "unshare": (272, 97),
    # the kernel itself: little of this is allowed anyway, but much of what was wrong with the kernel was in here
    "acct": (163, 89),
    "add_key": (248, 217),
    "adjtimex": (159, 171),
    "bpf": (321, 280),
    "clock_adjtime": (305, 266),
    "clock_settime": (227, 112),
    "delete_module": (176, 106),
    "finit_module": (313, 273),
    "init_module": (175, 105),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "io_uring_setup": (425, 425),
    "ioperm": (173, None),
    "iopl": (172, None),
    "kexec_file_load": (320, 294),
    "kexec_load": (246, 104),
    "keyctl": (250, 219),
    "modify_ldt": (154, None),
    "perf_event_open": (298, 241),
    "personality": (135, 92),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "reboot": (169, 142),
    "request_key": (249, 218),
    "setdomainname": (171, 162),
    "sethostname": (170, 161),
    "settimeofday": (164, 170),
    "swapoff": (168, 225),
    "swapon": (167, 224),
    "syslog": (103, 116),
    "userfaultfd": (323, 282),
    "vhangup": (153, 58),
}
_CONDITIONAL = frozenset(
    {"clone", "clone3", "fcntl", "ioctl", "kill", "prlimit64", "setpriority", "socket", "socketpair", "tgkill"}
)
_LISTENING = frozenset({"accept", "accept4", "listen"})


class _Instruction(NamedTuple):
    """Of struct sock_filter (linux/filter.h); `then` and `otherwise` are how many instructions to skip."""

    code: int
    value: int
    then: int = 0
    otherwise: int = 0


_ALLOWED = _Instruction(_RETURN, _ALLOW)


def restrict(sockets: Sockets, *, lowers: bool = False) -> bool:
    """Refuse this thread, and those that it starts, what no process needs, for good; False: not on this kernel.

    `lowers`: it may give its threads the least priority. To be called before threads are started, with
    no_new_privs set. Raises OSError.
    """
    machine = _MACHINES.get(platform.machine())
    if machine is None:
        return False
    program = b"".join(
        struct.pack("=HBBI", step.code, step.then, step.otherwise, step.value)
        for step in filter_of(sockets, os.getpid(), machine, lowers=lowers)
    )
    buffer = ctypes.create_string_buffer(program, len(program))
    # struct sock_fprog
    description = struct.pack("@HP", len(program) // 8, ctypes.addressof(buffer))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, description, 0, 0) == 0:
        return True
    code = ctypes.get_errno()
    if code == errno.EINVAL:  # a kernel without CONFIG_SECCOMP_FILTER
        return False
    raise OSError(code, f"seccomp: {os.strerror(code)}")


def filter_of(
    sockets: Sockets, pid: int, machine: _Machine = _MACHINES["x86_64"], *, lowers: bool = False
) -> list[_Instruction]:
    """Return the program for process `pid`: the kernel runs it at each system call."""

    def numbers(names: Iterable[str]) -> Iterator[int]:
        for name in sorted(names):
            if (number := _NUMBERS[name][machine.column]) is not None:
                yield number

    def rule(name: str, *steps: _Instruction) -> list[_Instruction]:
        """Return the part for one system call, which ends it."""
        (number,) = numbers([name])
        return [_Instruction(_EQUAL, number, 0, len(steps)), *steps]

    refused = _NUMBERS.keys() - _CONDITIONAL - (_LISTENING if sockets.listens else frozenset())
    denied = _refuse(errno.EPERM)
    return [
        _Instruction(_LOAD, _ARCHITECTURE),
        _Instruction(_EQUAL, machine.architecture, 1, 0),
        denied,  # a 32-bit program has no business here
        _Instruction(_LOAD, _NUMBER),
        _Instruction(_AT_LEAST, _X32, 0, 1),
        denied,
        *rule("clone3", _refuse(errno.ENOSYS)),  # whose flags are in memory; then libc calls clone
        *rule("clone", _argument(0), _Instruction(_AND, _CLONE_THREAD), *_one_of([_CLONE_THREAD], errno.EPERM)),
        *rule("kill", _argument(0), *_one_of([pid], errno.EPERM)),
        *rule("tgkill", _argument(0), *_one_of([pid], errno.EPERM)),
        *rule("prlimit64", _argument(0), *_one_of([0, pid], errno.EPERM)),
        *rule("setpriority", *(_lowering(pid) if lowers else [denied])),
        *rule("ioctl", _argument(1), *_none_of(_REFUSED_CONTROLS, errno.EPERM)),
        *rule("fcntl", _argument(1), *_none_of(_REFUSED_SETTINGS, errno.EPERM)),
        *rule("socketpair", _argument(0), *_one_of([socket.AF_UNIX], errno.EAFNOSUPPORT)),
        *rule("socket", *_socket(sockets)),
        *(step for number in numbers(refused) for step in (_Instruction(_EQUAL, number, 0, 1), denied)),
        _ALLOWED,
    ]


def _lowering(pid: int) -> list[_Instruction]:
    """Return the steps that judge setpriority(2): the least priority, for a thread.

    Which threads are this process's is not known here, but that they are younger than it.
    """
    denied = _refuse(errno.EPERM)
    return [
        *(_argument(0), _Instruction(_EQUAL, os.PRIO_PROCESS, 1, 0), denied),
        *(_argument(2), _Instruction(_EQUAL, _LEAST_PRIORITY, 1, 0), denied),
        *(_argument(1), _Instruction(_AT_LEAST, pid, 1, 0), denied),
        _ALLOWED,
    ]


def _socket(sockets: Sockets) -> list[_Instruction]:
    """Return the steps that judge socket(2): by its family, and with AF_NETLINK by its protocol."""
    netlink = [_argument(2), *_one_of(sorted(sockets.netlink), errno.EAFNOSUPPORT)]
    others = _one_of(sorted(sockets.families - {socket.AF_NETLINK}), errno.EAFNOSUPPORT)
    return [_argument(0), _Instruction(_EQUAL, socket.AF_NETLINK, 0, len(netlink)), *netlink, *others]


def _argument(number: int) -> _Instruction:
    """Load the lower half of an argument, on a little-endian machine; the kernel ignores the upper half of these."""
    return _Instruction(_LOAD, _ARGUMENTS + 8 * number)


def _one_of(values: Sequence[int], error: int) -> list[_Instruction]:
    """Return the steps that allow what was loaded if it is one of `values`, and end the call."""
    steps = [step for value in values for step in (_Instruction(_EQUAL, value, 0, 1), _ALLOWED)]
    return [*steps, _refuse(error)]


def _none_of(values: Sequence[int], error: int) -> list[_Instruction]:
    steps = [step for value in values for step in (_Instruction(_EQUAL, value, 0, 1), _refuse(error))]
    return [*steps, _ALLOWED]


def _refuse(error: int) -> _Instruction:
    return _Instruction(_RETURN, _ERRNO | error)
