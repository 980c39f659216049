"""What a kernel with one virtual server and one real server refuses, and how: the shadow has to do the same."""

import errno
from ipaddress import IPv4Address, IPv6Address

from clusterf.ipvs.table import (
    Method,
    Op,
    RealServer,
    RealServerSettings,
    ServiceFlag,
    Step,
    VirtualServer,
    VirtualServerSettings,
    table_of,
)
from clusterf.lib.addresses import Family, Protocol

__all__ = ["GONE", "OTHER", "REAL", "REFUSALS", "SETTINGS", "TABLE", "TEN", "WEB"]

WEB = VirtualServer(Family.IPV4, Protocol.TCP, IPv4Address("198.51.100.1"), 80)
WEB6 = VirtualServer(Family.IPV6, Protocol.TCP, IPv6Address("fd00:ff::1"), 80)
GONE = VirtualServer(Family.IPV4, fwmark=1)
GONE6 = VirtualServer(Family.IPV6, fwmark=1)
SETTINGS = VirtualServerSettings("wlc", ServiceFlag(0), 0, 0xFFFFFFFF)
SETTINGS6 = VirtualServerSettings("wlc", ServiceFlag(0), 0, 128)
REAL, OTHER = (RealServer(IPv4Address(a), 8080) for a in ("10.0.0.1", "10.0.0.2"))
REAL6 = RealServer(IPv6Address("fd00::1"), 8080)
TEN = RealServerSettings(Method.MASQ, 10)
TABLE = table_of([(WEB, SETTINGS, {REAL: TEN}), (WEB6, SETTINGS6, {REAL6: TEN})])

UNKNOWN = VirtualServerSettings("nosuch", ServiceFlag(0), 0, 0xFFFFFFFF)
NO_PREFIX, LONG_PREFIX = (VirtualServerSettings("wlc", ServiceFlag.PERSISTENT, 60, n) for n in (0, 129))
HEAVY = RealServerSettings(Method.MASQ, 2**31)
INVERTED = RealServerSettings(Method.MASQ, 10, 4, 5)
NOWHERE = [RealServer(IPv4Address(a), 80) for a in ("0.0.0.0", "224.0.0.1", "255.255.255.255")]
NOWHERE6 = [RealServer(IPv6Address(a), 80) for a in ("::", "ff02::1", "fe80::1", "::ffff:10.0.0.1")]

REFUSALS = [
    (Step(Op.ADD_VIRTUAL, WEB, None, SETTINGS), errno.EEXIST),
    (Step(Op.ADD_VIRTUAL, WEB, None, UNKNOWN), errno.EEXIST),
    (Step(Op.ADD_VIRTUAL, GONE, None, UNKNOWN), errno.ENOENT),
    (Step(Op.ADD_VIRTUAL, GONE6, None, NO_PREFIX), errno.EINVAL),
    (Step(Op.ADD_VIRTUAL, GONE6, None, LONG_PREFIX), errno.EINVAL),
    (Step(Op.EDIT_VIRTUAL, WEB6, None, LONG_PREFIX), errno.EINVAL),
    (Step(Op.EDIT_VIRTUAL, WEB, None, UNKNOWN), errno.ENOENT),
    (Step(Op.EDIT_VIRTUAL, GONE, None, SETTINGS), errno.ESRCH),
    (Step(Op.EDIT_VIRTUAL, GONE, None, UNKNOWN), errno.ESRCH),
    (Step(Op.REMOVE_VIRTUAL, GONE), errno.ESRCH),
    (Step(Op.ADD_REAL, WEB, REAL, TEN), errno.EEXIST),
    (Step(Op.ADD_REAL, GONE, REAL, TEN), errno.ESRCH),
    (Step(Op.ADD_REAL, WEB, REAL, INVERTED), errno.ERANGE),
    (Step(Op.ADD_REAL, WEB, OTHER, HEAVY), errno.ERANGE),
    (Step(Op.ADD_REAL, WEB, REAL6, TEN), errno.EINVAL),
    (Step(Op.ADD_REAL, WEB6, REAL, RealServerSettings(Method.DROUTE, 10, 4, 5)), errno.EINVAL),
    *((Step(Op.ADD_REAL, WEB, nowhere, TEN), errno.EINVAL) for nowhere in NOWHERE),
    *((Step(Op.ADD_REAL, WEB6, nowhere, TEN), errno.EINVAL) for nowhere in NOWHERE6),
    (Step(Op.ADD_REAL, WEB, NOWHERE[0], INVERTED), errno.ERANGE),
    (Step(Op.EDIT_REAL, WEB, OTHER, TEN), errno.ENOENT),
    (Step(Op.EDIT_REAL, WEB, OTHER, HEAVY), errno.ERANGE),
    (Step(Op.EDIT_REAL, WEB, REAL6, TEN), errno.EINVAL),
    (Step(Op.EDIT_REAL, WEB, NOWHERE[0], TEN), errno.ENOENT),
    (Step(Op.EDIT_REAL, WEB, REAL, INVERTED), errno.ERANGE),
    (Step(Op.EDIT_REAL, GONE, REAL, TEN), errno.ESRCH),
    (Step(Op.REMOVE_REAL, WEB, OTHER), errno.ENOENT),
    (Step(Op.REMOVE_REAL, WEB, REAL6), errno.ENOENT),
    (Step(Op.REMOVE_REAL, GONE, REAL), errno.ESRCH),
]
