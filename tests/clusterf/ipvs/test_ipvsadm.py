"""What `ipvsadm` 1.31 printed for tables like these, and took as commands, on kernels 6.1 and 7.2."""

from ipaddress import ip_address

import pytest

from clusterf.ipvs import ipvsadm
from clusterf.ipvs.table import (
    Method,
    Op,
    RealServer,
    RealServerSettings,
    ServiceFlag,
    Step,
    Table,
    Tunnel,
    TunnelChecksum,
    TunnelType,
    VirtualServer,
    VirtualServerSettings,
    table_of,
)
from clusterf.lib.addresses import Family, Protocol

NONE, PERSISTENT, ONE_PACKET = ServiceFlag(0), ServiceFlag.PERSISTENT, ServiceFlag.ONE_PACKET
SCHED_1, SCHED_2, SCHED_3 = ServiceFlag.SCHED_1, ServiceFlag.SCHED_2, ServiceFlag.SCHED_3


def virtual(address: str, port: int = 80, protocol: Protocol = Protocol.TCP) -> VirtualServer:
    ip = ip_address(address)
    return VirtualServer(Family.of(ip), protocol, ip, port)


def fwmark(mark: int, family: Family = Family.IPV4) -> VirtualServer:
    return VirtualServer(family, fwmark=mark)


def real(address: str, port: int = 80) -> RealServer:
    return RealServer(ip_address(address), port)


def settings(
    scheduler: str = "wlc",
    flags: ServiceFlag = NONE,
    timeout: int = 0,
    netmask: int = 0xFFFFFFFF,
    persistence_engine: str = "",
) -> VirtualServerSettings:
    return VirtualServerSettings(scheduler, flags, timeout, netmask, persistence_engine)


def settings6(scheduler: str = "wlc", flags: ServiceFlag = NONE, timeout: int = 0, netmask: int = 128):
    return settings(scheduler, flags, timeout, netmask)


WEB = virtual("10.0.0.1")
MASQ = RealServerSettings(Method.MASQ, 10)

VIRTUALS = [
    (WEB, settings(), "-t 10.0.0.1:80 -s wlc"),
    (virtual("10.0.0.1", 53, Protocol.UDP), settings("rr"), "-u 10.0.0.1:53 -s rr"),
    (virtual("10.0.0.1", 99, Protocol.SCTP), settings("rr"), "--sctp-service 10.0.0.1:99 -s rr"),
    (virtual("fd00::1"), settings6(), "-t [fd00::1]:80 -s wlc"),
    (virtual("::", 53, Protocol.UDP), settings6(), "-u [::]:53 -s wlc"),
    (virtual("::ffff:10.0.0.1"), settings6(), "-t [::ffff:10.0.0.1]:80 -s wlc"),
    (virtual("::10.0.0.1"), settings6(), "-t [::10.0.0.1]:80 -s wlc"),
    (virtual("64:ff9b::192.0.2.1"), settings6(), "-t [64:ff9b::c000:201]:80 -s wlc"),
    (virtual("2001:0:0:1::1"), settings6(), "-t [2001:0:0:1::1]:80 -s wlc"),
    (virtual("2001:db8:0:1:1:1:1:1"), settings6(), "-t [2001:db8:0:1:1:1:1:1]:80 -s wlc"),
    (fwmark(7), settings(), "-f 7 -s wlc"),
    (fwmark(7, Family.IPV6), settings6(), "-f 7 -6 -s wlc"),
    (fwmark(2**31 - 1), settings("wlc", ONE_PACKET), "-f 2147483647 -s wlc -o"),
    (virtual("10.0.0.3", 0), settings("wlc", PERSISTENT, 30), "-t 10.0.0.3:0 -s wlc -p 30"),
    (WEB, settings("wlc", PERSISTENT, 30, 0xFFFFFF00), "-t 10.0.0.1:80 -s wlc -p 30 -M 255.255.255.0"),
    (WEB, settings("wlc", PERSISTENT, 30, 0), "-t 10.0.0.1:80 -s wlc -p 30 -M 0.0.0.0"),
    (virtual("fd00::1"), settings6("wlc", PERSISTENT, 300), "-t [fd00::1]:80 -s wlc -p 300"),
    (virtual("fd00::1"), settings6("wlc", PERSISTENT, 300, 64), "-t [fd00::1]:80 -s wlc -p 300 -M 64"),
    (
        virtual("10.0.0.3", 84, Protocol.UDP),
        settings("wlc", PERSISTENT | ONE_PACKET | SCHED_2, 30, 0xFFFFFF00, "sip"),
        "-u 10.0.0.3:84 -s wlc -p 30 -M 255.255.255.0 --pe sip -o -b flag-2",
    ),
    (WEB, settings("rr", persistence_engine="sip"), "-t 10.0.0.1:80 -s rr --pe sip"),
    (WEB, settings("sh", SCHED_1 | SCHED_2), "-t 10.0.0.1:80 -s sh -b sh-fallback,sh-port"),
    (WEB, settings("sh", SCHED_2), "-t 10.0.0.1:80 -s sh -b sh-port"),
    (WEB, settings("mh", SCHED_1 | SCHED_2), "-t 10.0.0.1:80 -s mh -b mh-fallback,mh-port"),
    (WEB, settings("mh", SCHED_1), "-t 10.0.0.1:80 -s mh -b mh-fallback"),
    (WEB, settings("wlc", SCHED_1 | SCHED_2 | SCHED_3), "-t 10.0.0.1:80 -s wlc -b flag-1,flag-2,flag-3"),
    (WEB, settings("fo", SCHED_3), "-t 10.0.0.1:80 -s fo -b flag-3"),
]

REALS = [
    (WEB, real("10.1.0.1"), MASQ, "-t 10.0.0.1:80 -r 10.1.0.1:80 -m -w 10"),
    (WEB, real("10.1.0.7", 0), MASQ, "-t 10.0.0.1:80 -r 10.1.0.7:0 -m -w 10"),
    (WEB, real("10.1.0.2"), RealServerSettings(Method.DROUTE, 0), "-t 10.0.0.1:80 -r 10.1.0.2:80 -g -w 0"),
    (WEB, real("10.1.0.2"), RealServerSettings(Method.LOCALNODE, 5), "-t 10.0.0.1:80 -r 10.1.0.2:80 -g -w 5"),
    (WEB, real("10.1.0.2"), RealServerSettings(Method.BYPASS, 5), "-t 10.0.0.1:80 -r 10.1.0.2:80 (null) -w 5"),
    (fwmark(7, Family.IPV6), real("fd00::1"), MASQ, "-f 7 -6 -r [fd00::1]:80 -m -w 10"),
    (virtual("fd00::1"), real("::1", 8080), MASQ, "-t [fd00::1]:80 -r [::1]:8080 -m -w 10"),
]


@pytest.mark.parametrize(("virtual", "settings", "text"), VIRTUALS)
def test_virtual_server_is_written_as_ipvsadm_prints_it(virtual, settings, text):
    assert ipvsadm.lines(table_of([(virtual, settings, {})])) == [f"-A {text}"]
    assert ipvsadm.command(Step(Op.ADD_VIRTUAL, virtual, settings=settings)) == f"ipvsadm -A {text}"
    assert ipvsadm.command(Step(Op.EDIT_VIRTUAL, virtual, settings=settings)) == f"ipvsadm -E {text}"
    name = text.partition(" -s ")[0]
    assert ipvsadm.command(Step(Op.REMOVE_VIRTUAL, virtual)) == f"ipvsadm -D {name}"


@pytest.mark.parametrize(("virtual", "real", "settings", "text"), REALS)
def test_real_server_is_written_as_ipvsadm_prints_it(virtual, real, settings, text):
    table = table_of([(virtual, VirtualServerSettings("wlc", NONE, 0, 0), {real: settings})])
    assert f"-a {text}" in ipvsadm.lines(table)
    assert ipvsadm.command(Step(Op.ADD_REAL, virtual, real, settings)) == f"ipvsadm -a {text}"
    assert ipvsadm.command(Step(Op.EDIT_REAL, virtual, real, settings)) == f"ipvsadm -e {text}"
    name = " ".join(text.split(" ")[: text.split(" ").index("-r") + 2])
    assert ipvsadm.command(Step(Op.REMOVE_REAL, virtual, real)) == f"ipvsadm -d {name}"


def test_tunnel_is_printed_with_its_type():
    tunnel = RealServerSettings(Method.TUNNEL, 1)
    step = Step(Op.ADD_REAL, WEB, real("fd00::5"), tunnel)
    assert ipvsadm.command(step) == "ipvsadm -a -t 10.0.0.1:80 -r [fd00::5]:80 -i -w 1"
    table = table_of([(WEB, settings(), {real("fd00::5"): tunnel})])
    assert ipvsadm.lines(table)[1] == "-a -t 10.0.0.1:80 -r [fd00::5]:80 -i -w 1 --tun-type ipip"


@pytest.mark.parametrize(
    ("tunnel", "text"),
    [
        (Tunnel(TunnelType.GUE, 6080), "gue --tun-port 6080 --tun-nocsum"),
        (Tunnel(TunnelType.GUE, 6080, TunnelChecksum.CSUM), "gue --tun-port 6080 --tun-csum"),
        (Tunnel(TunnelType.GUE, 1, TunnelChecksum.REMCSUM), "gue --tun-port 1 --tun-remcsum"),
        (Tunnel(TunnelType.GRE), "gre --tun-nocsum"),
        (Tunnel(TunnelType.GRE, 0, TunnelChecksum.CSUM), "gre --tun-csum"),
    ],
)
def test_tunnel_of_another_type_is_written_with_its_options(tunnel, text):
    how = RealServerSettings(Method.TUNNEL, 1, 9, 4, tunnel)
    step = Step(Op.EDIT_REAL, WEB, real("10.1.0.1"), how)
    assert ipvsadm.command(step) == f"ipvsadm -e -t 10.0.0.1:80 -r 10.1.0.1:80 -i -w 1 -x 9 -y 4 --tun-type {text}"
    table = table_of([(WEB, settings(), {real("10.1.0.1"): how})])
    assert ipvsadm.lines(table)[1] == f"-a -t 10.0.0.1:80 -r 10.1.0.1:80 -i -w 1 --tun-type {text}"


@pytest.mark.parametrize(
    ("upper", "lower", "text"),
    [(100, 50, " -x 100 -y 50"), (100, 0, " -x 100"), (0, 5, " -y 5"), (0, 0, "")],
)
def test_thresholds_are_in_commands_only(upper, lower, text):
    limited = RealServerSettings(Method.MASQ, 1, upper, lower)
    step = Step(Op.ADD_REAL, WEB, real("10.1.0.1"), limited)
    assert ipvsadm.command(step) == f"ipvsadm -a -t 10.0.0.1:80 -r 10.1.0.1:80 -m -w 1{text}"
    table = table_of([(WEB, settings(), {real("10.1.0.1"): limited})])
    assert ipvsadm.lines(table)[1] == "-a -t 10.0.0.1:80 -r 10.1.0.1:80 -m -w 1"


@pytest.mark.parametrize(
    ("scheduler", "flags", "printed", "commanded"),
    [
        ("sh", SCHED_3, "", "flag-3"),
        ("mh", SCHED_1 | SCHED_3, "mh-fallback", "mh-fallback,flag-3"),
    ],
)
def test_third_flag_of_sh_and_mh_is_in_commands_only(scheduler, flags, printed, commanded):
    how = settings(scheduler, flags)
    assert ipvsadm.lines(table_of([(WEB, how, {})])) == [f"-A -t 10.0.0.1:80 -s {scheduler} -b {printed}"]
    step = Step(Op.ADD_VIRTUAL, WEB, settings=how)
    assert ipvsadm.command(step) == f"ipvsadm -A -t 10.0.0.1:80 -s {scheduler} -b {commanded}"


def test_fwmark_over_31_bits_is_printed_as_negative():
    mark = fwmark(2**32 - 1, Family.IPV6)
    assert ipvsadm.lines(table_of([(mark, settings6(), {})])) == ["-A -f -1 -6 -s wlc"]
    assert ipvsadm.command(Step(Op.REMOVE_VIRTUAL, mark)) == "ipvsadm -D -f 4294967295 -6"


def test_lines_are_sorted_bytewise():
    table = table_of(
        [
            (fwmark(9), settings(), {real("10.1.0.10"): MASQ, real("10.1.0.9"): MASQ}),
            (virtual("fd00::1"), settings6(), {real("fd00::9"): MASQ}),
            (virtual("10.0.0.1", 53, Protocol.UDP), settings(), {}),
            (WEB, settings(), {real("10.1.0.1"): MASQ}),
        ]
    )
    assert ipvsadm.lines(table) == [
        "-A -f 9 -s wlc",
        "-A -t 10.0.0.1:80 -s wlc",
        "-A -t [fd00::1]:80 -s wlc",
        "-A -u 10.0.0.1:53 -s wlc",
        "-a -f 9 -r 10.1.0.10:80 -m -w 10",
        "-a -f 9 -r 10.1.0.9:80 -m -w 10",
        "-a -t 10.0.0.1:80 -r 10.1.0.1:80 -m -w 10",
        "-a -t [fd00::1]:80 -r [fd00::9]:80 -m -w 10",
    ]


def test_empty_table_has_no_lines():
    assert ipvsadm.lines(Table()) == []
