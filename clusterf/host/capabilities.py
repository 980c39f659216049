"""Dropping the capabilities that a process does not need.

By the kernel's own calls, prctl(2) and capset(2): the numbers are those of
`include/uapi/linux/capability.h` and `prctl.h`.
"""

import ctypes
import os
import struct
from collections.abc import Iterable

__all__ = ["CAP_DAC_READ_SEARCH", "CAP_NET_ADMIN", "CAP_NET_RAW", "drop_all_but"]

CAP_DAC_READ_SEARCH = 2
CAP_NET_ADMIN = 12
CAP_NET_RAW = 13

_PR_CAPBSET_READ, _PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS = 23, 24, 38
_CAPABILITY_VERSION_3 = 0x20080522

_libc = ctypes.CDLL(None, use_errno=True)


def drop_all_but(capabilities: Iterable[int]) -> None:
    """Drop all capabilities but these, for good, and the ways to regain any.

    None is added that the process does not have. To be called before threads
    are started, as each thread has capabilities of its own. Raises OSError.
    """
    keep = frozenset(capabilities)
    _call("prctl", _PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    permitted = _permitted()
    if permitted & 1 << 8:  # CAP_SETPCAP, without which the bounding set cannot be changed
        number = 0
        while _libc.prctl(_PR_CAPBSET_READ, number, 0, 0, 0) >= 0:
            if number not in keep:
                _call("prctl", _PR_CAPBSET_DROP, number, 0, 0, 0)
            number += 1
    mask = sum(1 << capability for capability in keep) & permitted
    low, high = mask & 0xFFFFFFFF, mask >> 32
    header = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)
    # effective, permitted, inheritable; twice 32 bits
    _call("capset", header, struct.pack("=6I", low, low, 0, high, high, 0))


def _permitted() -> int:
    header = ctypes.create_string_buffer(struct.pack("=Ii", _CAPABILITY_VERSION_3, 0), 8)
    data = ctypes.create_string_buffer(24)
    _call("capget", header, data)
    _, low, _, _, high, _ = struct.unpack("=6I", data.raw)
    return int(low | high << 32)


def _call(name: str, *arguments: object) -> None:
    if getattr(_libc, name)(*arguments) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{name}: {os.strerror(code)}")
