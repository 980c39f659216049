"""The number of the family IPVS in generic netlink.

The kernel assigns it when the module `ip_vs` is loaded, a new one each time. The
controller family returns it (`ctrl_getfamily` in `net/netlink/genetlink.c`).
"""

import errno
from struct import Struct

from clusterf.ipvs.netlink.attributes import U16, StructError, attributes
from clusterf.ipvs.netlink.channel import Channel

__all__ = ["MISSING", "find_family"]

MISSING = "the kernel module ip_vs is missing: load it with modprobe ip_vs"

_CONTROLLER = 0x10  # GENL_ID_CTRL
_GET_FAMILY = 3
_FAMILY_ID, _FAMILY_NAME = 1, 2

_NAME = b"IPVS\0"
_REQUEST = Struct("=HH5s3x").pack(4 + len(_NAME), _FAMILY_NAME, _NAME)


def find_family(deadline: float) -> int:
    """Return the number of the IPVS family; raises OSError, ENOENT if the kernel has none."""
    channel = Channel(_CONTROLLER, deadline)
    try:
        found = channel.ask(_GET_FAMILY, _REQUEST, _decode)
    except OSError as error:
        raise OSError(error.errno, MISSING if error.errno == errno.ENOENT else error.strerror) from error
    finally:
        channel.close()
    if len(found) != 1:
        raise OSError(errno.EBADMSG, f"the kernel has {len(found)} families of the name IPVS")
    return found[0]


def _decode(payload: bytes) -> int:
    try:
        return int(U16.unpack(attributes(payload)[_FAMILY_ID])[0])
    except (KeyError, StructError) as error:
        raise ValueError(f"malformed family from the kernel: {error!r}") from error
