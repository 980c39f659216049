"""Dropping the capabilities that a process does not need, and the user that it does not need to be.

By the kernel's own calls, prctl(2) and capset(2): the numbers are those of
`include/uapi/linux/capability.h` and `prctl.h`.
"""

import ctypes
import os
import struct
from collections.abc import Iterable
from typing import Final

from clusterf.host.users import User

__all__ = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CHANGING_USERS",
    "drop_all_but",
    "permitted",
]

CAP_CHOWN = 0
CAP_DAC_OVERRIDE = 1
CAP_DAC_READ_SEARCH = 2
CAP_FOWNER = 3
CAP_KILL = 5
CAP_SETGID = 6
CAP_SETUID = 7
CAP_SETPCAP = 8
CAP_NET_ADMIN = 12
CAP_NET_RAW = 13

CHANGING_USERS: Final = {
    "CAP_CHOWN": CAP_CHOWN,
    "CAP_DAC_OVERRIDE": CAP_DAC_OVERRIDE,
    "CAP_DAC_READ_SEARCH": CAP_DAC_READ_SEARCH,
    "CAP_FOWNER": CAP_FOWNER,
    "CAP_KILL": CAP_KILL,
    "CAP_SETGID": CAP_SETGID,
    "CAP_SETPCAP": CAP_SETPCAP,
    "CAP_SETUID": CAP_SETUID,
}
"""What a supervisor needs to have processes of other users: to start and end them, and for their directories."""

_PR_SET_KEEPCAPS, _PR_CAPBSET_READ, _PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS = 8, 23, 24, 38
_CAPABILITY_VERSION_3 = 0x20080522

_libc = ctypes.CDLL(None, use_errno=True)


def drop_all_but(capabilities: Iterable[int], user: User | None = None) -> None:
    """Drop all capabilities but these, for good, and the ways to regain any; with `user` go on as that one.

    None is added that the process does not have. To be called before threads
    are started, as each thread has capabilities of its own. Raises OSError.
    """
    keep = frozenset(capabilities)
    _call("prctl", _PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    held = permitted()
    if CAP_SETPCAP in held:  # without it the bounding set cannot be changed
        number = 0
        while _libc.prctl(_PR_CAPBSET_READ, number, 0, 0, 0) >= 0:
            if number not in keep:
                _call("prctl", _PR_CAPBSET_DROP, number, 0, 0, 0)
            number += 1
    if user is not None:
        _call("prctl", _PR_SET_KEEPCAPS, 1, 0, 0, 0)
        os.setgroups(user.groups)
        os.setresgid(user.gid, user.gid, user.gid)
        os.setresuid(user.uid, user.uid, user.uid)
        _call("prctl", _PR_SET_KEEPCAPS, 0, 0, 0, 0)
    mask = sum(1 << capability for capability in keep & held)
    low, high = mask & 0xFFFFFFFF, mask >> 32
    header = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)
    # effective, permitted, inheritable; twice 32 bits
    _call("capset", header, struct.pack("=6I", low, low, 0, high, high, 0))


def permitted() -> frozenset[int]:
    """Return the capabilities that this thread may use. Raises OSError."""
    header = ctypes.create_string_buffer(struct.pack("=Ii", _CAPABILITY_VERSION_3, 0), 8)
    data = ctypes.create_string_buffer(24)
    _call("capget", header, data)
    _, low, _, _, high, _ = struct.unpack("=6I", data.raw)
    mask = low | high << 32
    return frozenset(number for number in range(64) if mask >> number & 1)


def _call(name: str, *arguments: object) -> None:
    if getattr(_libc, name)(*arguments) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{name}: {os.strerror(code)}")
