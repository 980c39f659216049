import errno
import os
import shlex
import socket
import struct
import subprocess
import threading
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

import pytest

from clusterf.ipvs import ipvsadm
from clusterf.ipvs.kernel import Unavailable
from clusterf.ipvs.netlink import channel as channel_module
from clusterf.ipvs.netlink.client import NetlinkIpvs, open_kernel
from clusterf.ipvs.netlink.services import encode_step
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
from tests.system.support.netns import network_namespace

pytestmark = pytest.mark.ipvs

NONE = ServiceFlag(0)
PERSISTENT = ServiceFlag.PERSISTENT
WLC = VirtualServerSettings("wlc", NONE, 0, 0xFFFFFFFF)
WLC6 = VirtualServerSettings("wlc", NONE, 0, 128)
MASQ = RealServerSettings(Method.MASQ, 10)
TUNNELS = (
    *(Tunnel(TunnelType.GUE, 6080, checksum) for checksum in TunnelChecksum),
    *(Tunnel(TunnelType.GRE, 0, checksum) for checksum in (TunnelChecksum.NONE, TunnelChecksum.CSUM)),
)
WEB = VirtualServer(Family.IPV4, Protocol.TCP, IPv4Address("10.107.107.107"), 1337)


@pytest.fixture
def namespace() -> Iterator[None]:
    with network_namespace():
        yield


@pytest.fixture
def kernel(namespace: None) -> Iterator[NetlinkIpvs]:
    kernel = open_kernel()
    yield kernel
    kernel.close()


def descriptors() -> set[str]:
    return {path.name for path in Path("/proc/self/fd").iterdir()}


def ipvsadm_run(*arguments: str, stdin: str | None = None) -> str:
    done = subprocess.run(["ipvsadm", *arguments], input=stdin, capture_output=True, text=True, check=True)
    return done.stdout


def saved() -> list[str]:
    return sorted(ipvsadm_run("-Sn").splitlines())


def virtual(address: str, port: int = 80, protocol: Protocol = Protocol.TCP) -> VirtualServer:
    ip = ip_address(address)
    return VirtualServer(Family.of(ip), protocol, ip, port)


def real(address: str, port: int = 80) -> RealServer:
    return RealServer(ip_address(address), port)


def settings(
    scheduler: str = "wlc", flags: ServiceFlag = NONE, timeout: int = 0, netmask: int = 0xFFFFFFFF, pe: str = ""
):
    return VirtualServerSettings(scheduler, flags, timeout, netmask, pe)


def everything() -> Table:
    """A table with each kind of virtual server and real server."""
    masq4 = {real("10.3.107.1"): MASQ, real("10.3.107.2", 8080): RealServerSettings(Method.MASQ, 0)}
    masq6 = {real("fd00:3::1"): MASQ, real("64:ff9b::10.3.107.2", 8080): RealServerSettings(Method.MASQ, 0)}
    rows = [(virtual("10.0.0.1", 80, protocol), WLC, masq4) for protocol in Protocol]
    rows += [(virtual("fd00::1", 80, protocol), WLC6, masq6) for protocol in Protocol]
    rows += [
        (VirtualServer(Family.IPV4, fwmark=7), WLC, {real("10.3.107.1", 0): MASQ}),
        (VirtualServer(Family.IPV6, fwmark=7), WLC6, {real("fd00:3::1", 0): MASQ}),
        (VirtualServer(Family.IPV4, fwmark=2**31 - 1), settings("rr", ServiceFlag.ONE_PACKET), {}),
        (virtual("10.0.0.2", 0), settings("wrr", PERSISTENT, 360), {real("10.3.107.1", 0): MASQ}),
        (virtual("10.0.0.2", 81), settings("lc", PERSISTENT, 30, 0xFFFFFF00), {}),
        (virtual("10.0.0.2", 82), settings("lc", PERSISTENT, 30, 0), {}),
        (virtual("10.0.0.2", 53, Protocol.UDP), settings("rr", ServiceFlag.ONE_PACKET), {}),
        (virtual("10.0.0.2", 5060, Protocol.UDP), settings("rr", PERSISTENT | 4, 30, pe="sip"), {}),
        (virtual("fd00::2", 81), settings("sed", PERSISTENT, 30, 64), {}),
        (virtual("fd00::2", 82), settings("nq", PERSISTENT, 30, 128), {}),
        (virtual("::ffff:10.0.0.1"), WLC6, {}),
        (virtual("::10.0.0.1"), WLC6, {}),
        (virtual("::"), WLC6, {}),
    ]
    flags = [NONE, *(ServiceFlag(n << 3) for n in range(1, 8))]
    for port, flag in enumerate(flags, 1):
        rows += [(virtual(f"10.0.1.{n}", port), settings(s, flag), {}) for n, s in enumerate(("sh", "mh", "dh", "fo"))]
    methods = (Method.MASQ, Method.TUNNEL, Method.DROUTE)
    mixed = {real(f"10.3.107.{int(m)}"): RealServerSettings(m, 65535, 100, 50) for m in methods}
    mixed[real("10.3.107.9")] = RealServerSettings(Method.MASQ, 1, 100, 0)
    mixed[real("fd00:3::1")] = RealServerSettings(Method.TUNNEL, 3)
    mixed |= {real(f"10.3.108.{n}"): RealServerSettings(Method.TUNNEL, n, tunnel=t) for n, t in enumerate(TUNNELS)}
    rows.append((virtual("10.0.0.3"), settings("ovf"), mixed))
    mixed6 = {real(f"fd00:3::{int(m)}"): RealServerSettings(m, 0) for m in methods}
    mixed6[real("10.3.107.1")] = RealServerSettings(Method.TUNNEL, 3, tunnel=TUNNELS[0])
    rows.append((virtual("fd00::3"), settings("lblcr", netmask=128), mixed6))
    return table_of(rows)


def additions(table: Table) -> list[Step]:
    steps = []
    for each, how in table.virtuals.items():
        steps.append(Step(Op.ADD_VIRTUAL, each, settings=how))
        steps += [Step(Op.ADD_REAL, each, r, s) for r, s in table.reals[each].items()]
    return steps


def changes(table: Table) -> list[Step]:
    """Edits of each virtual and real server, then the removal of every other one."""
    steps = []
    for each, how in table.virtuals.items():
        flags = how.flags & ServiceFlag.ONE_PACKET
        plain = VirtualServerSettings("lc", flags, 0, 0xFFFFFFFF if each.family is Family.IPV4 else 128)
        if each.port or each.fwmark:
            steps.append(Step(Op.EDIT_VIRTUAL, each, settings=plain))
        edited = [RealServerSettings(s.method, 77, 9) for s in table.reals[each].values()]
        steps += [Step(Op.EDIT_REAL, each, r, s) for r, s in zip(table.reals[each], edited, strict=True)]
        steps += [Step(Op.REMOVE_REAL, each, r) for r in list(table.reals[each])[::2]]
    return steps + [Step(Op.REMOVE_VIRTUAL, each) for each in list(table.virtuals)[::2]]


def web(count: int, first: int = 0) -> list[Step]:
    addresses = (IPv4Address(0x0A030000 + n) for n in range(first, first + count))
    return [Step(Op.ADD_REAL, WEB, RealServer(address, 80), MASQ) for address in addresses]


def test_written_table_is_read_back_and_printed_as_ipvsadm_prints_it(kernel: NetlinkIpvs) -> None:
    table = everything()
    steps = additions(table)

    assert kernel.apply(steps) == [0] * len(steps)

    assert kernel.read() == table
    assert kernel.read_virtuals() == table.virtuals
    assert ipvsadm.lines(table) == saved()
    for each, how in table.virtuals.items():
        assert kernel.read_virtual(each) == (how, table.reals[each])
        assert kernel.connections(each) == dict.fromkeys(table.reals[each], (0, 0))


def test_edits_and_removals_have_the_same_effect_on_the_kernel_as_on_a_table(kernel: NetlinkIpvs) -> None:
    table = everything()
    steps = changes(table)
    kernel.apply(additions(table))

    assert kernel.apply(steps) == [0] * len(steps)

    for step in steps:
        table.apply(step)
    assert kernel.read() == table
    assert ipvsadm.lines(table) == saved()


def test_ipvsadm_command_of_each_step_has_the_same_effect(kernel: NetlinkIpvs) -> None:
    table = everything()
    commands = [ipvsadm.command(step) for step in additions(table)]
    edits = [ipvsadm.command(step) for step in changes(table)]

    ipvsadm_run("-R", stdin="".join(f"{text.removeprefix('ipvsadm ')}\n" for text in commands))
    assert kernel.read() == table

    ipvsadm_run("-R", stdin="".join(f"{text.removeprefix('ipvsadm ')}\n" for text in edits))
    for step in changes(table):
        table.apply(step)
    assert kernel.read() == table

    ipvsadm_run(*shlex.split(ipvsadm.FLUSH)[1:])
    assert kernel.read() == Table()


def test_printed_table_can_be_restored(kernel: NetlinkIpvs) -> None:
    # thresholds are not printed, and ipvsadm has no name for the third flag of sh and mh
    table = everything()
    kernel.apply(additions(table))
    printed = [line for line in ipvsadm.lines(kernel.read()) if not line.endswith("-b ")]

    kernel.flush()
    ipvsadm_run("-R", stdin="\n".join(printed))

    assert ipvsadm.lines(kernel.read()) == printed == saved()


def test_large_fwmark_is_printed_as_ipvsadm_prints_it(kernel: NetlinkIpvs) -> None:
    marks = [VirtualServer(family, fwmark=mark) for family in Family for mark in (2**31 - 1, 2**31, 2**32 - 1)]
    steps = [Step(Op.ADD_VIRTUAL, v, settings=WLC if v.family is Family.IPV4 else WLC6) for v in marks]

    assert kernel.apply(steps) == [0] * len(steps)

    assert ipvsadm.lines(kernel.read()) == saved()
    assert set(kernel.read_virtuals()) == set(marks)


def test_foreign_table_is_read_without_unsupported_protocols(kernel: NetlinkIpvs) -> None:
    ipvsadm_run("-A", "-t", "10.0.0.1:80", "-s", "rr", "-M", "255.255.0.0")
    ipvsadm_run("-a", "-t", "10.0.0.1:80", "-r", "10.3.0.1:80", "-i", "--tun-type", "gue", "--tun-port", "5555")
    ipvsadm_run("-a", "-t", "10.0.0.1:80", "-r", "127.0.0.1:80", "-m", "-w", "70000", "-x", "9", "-y", "4")
    command, payload = encode_step(Step(Op.ADD_VIRTUAL, virtual("10.0.0.2"), settings=settings("rr")))
    gre = payload.replace(bytes.fromhex("0600020006"), bytes.fromhex("060002002f"))
    assert kernel._channel.batch([(command, gre)]) == [0]

    table = kernel.read()

    assert table.virtuals == {virtual("10.0.0.1"): settings("rr")}
    assert table.reals[virtual("10.0.0.1")] == {
        real("10.3.0.1"): RealServerSettings(Method.TUNNEL, 1, tunnel=Tunnel(TunnelType.GUE, 5555)),
        real("127.0.0.1"): RealServerSettings(Method.MASQ, 70000, 9, 4),
    }
    assert [line for line in saved() if "--xxx-service" not in line] == ipvsadm.lines(table)


def test_real_server_with_an_unknown_method_is_read_and_can_be_edited(kernel: NetlinkIpvs) -> None:
    kernel.apply([Step(Op.ADD_VIRTUAL, WEB, settings=WLC), *web(1)])
    (key,) = kernel.read().reals[WEB]
    odd = RealServerSettings(7, 5)  # type: ignore[arg-type]
    assert kernel.apply([Step(Op.EDIT_REAL, WEB, key, odd)]) == [0]

    assert kernel.read().reals[WEB] == {key: RealServerSettings(Method.BYPASS, 5)}
    assert ipvsadm.lines(kernel.read()) == saved()
    assert kernel.apply([Step(Op.EDIT_REAL, WEB, key, MASQ)]) == [0]
    assert kernel.read().reals[WEB] == {key: MASQ}


def test_tunnel_of_an_unknown_type_is_read_and_can_be_edited(kernel: NetlinkIpvs) -> None:
    plain, (gue, *_) = RealServerSettings(Method.TUNNEL, 5), TUNNELS
    kernel.apply([Step(Op.ADD_VIRTUAL, WEB, settings=WLC)])
    command, payload = encode_step(
        Step(Op.ADD_REAL, WEB, real("10.3.0.1"), RealServerSettings(Method.TUNNEL, 5, tunnel=gue))
    )
    known, unknown = (struct.pack("=HHB", 5, 13, kind) for kind in (TunnelType.GUE, 9))
    assert known in payload
    assert kernel._channel.batch([(command, payload.replace(known, unknown))]) == [0]

    assert kernel.read().reals[WEB] == {real("10.3.0.1"): RealServerSettings(Method.BYPASS, 5)}
    assert kernel.apply([Step(Op.EDIT_REAL, WEB, real("10.3.0.1"), plain)]) == [0]
    assert kernel.read().reals[WEB] == {real("10.3.0.1"): plain}


def test_each_step_has_its_own_errno_and_the_others_are_done(kernel: NetlinkIpvs) -> None:
    missing = virtual("10.9.9.9")
    one, two = web(2)
    steps_and_errors = [
        (Step(Op.ADD_VIRTUAL, WEB, settings=WLC), 0),
        (Step(Op.ADD_VIRTUAL, WEB, settings=WLC), errno.EEXIST),
        (Step(Op.EDIT_VIRTUAL, missing, settings=WLC), errno.ESRCH),
        (Step(Op.ADD_VIRTUAL, missing, settings=settings("nosuch")), errno.ENOENT),
        (Step(Op.REMOVE_VIRTUAL, missing), errno.ESRCH),
        (one, 0),
        (one, errno.EEXIST),
        (Step(Op.EDIT_REAL, WEB, two.real, MASQ), errno.ENOENT),
        (Step(Op.REMOVE_REAL, WEB, two.real), errno.ENOENT),
        (Step(Op.ADD_REAL, missing, two.real, MASQ), errno.ESRCH),
        (Step(Op.ADD_REAL, WEB, two.real, RealServerSettings(Method.MASQ, 2**31)), errno.ERANGE),
        (Step(Op.ADD_REAL, WEB, two.real, RealServerSettings(Method.MASQ, 1, 0, 5)), errno.ERANGE),
        (Step(Op.ADD_REAL, WEB, real("fd00::1"), MASQ), errno.EINVAL),
        (two, 0),
    ]

    assert kernel.apply([step for step, _ in steps_and_errors]) == [error for _, error in steps_and_errors]

    assert kernel.read().reals == {WEB: {one.real: MASQ, two.real: MASQ}}


def test_errors_in_a_batch_of_many_sends_belong_to_their_steps(kernel: NetlinkIpvs) -> None:
    steps = [Step(Op.ADD_VIRTUAL, WEB, settings=WLC), *web(2000)]
    bad = set(range(5, 2000, 7))
    for index in bad:
        steps[index] = Step(Op.REMOVE_REAL, WEB, RealServer(IPv4Address("10.200.0.1"), 80))

    errors = kernel.apply(steps)

    assert errors == [errno.ENOENT if index in bad else 0 for index in range(len(steps))]
    assert len(kernel.read().reals[WEB]) == 2000 - len(bad)


def test_batch_in_which_every_step_fails_loses_no_error(kernel: NetlinkIpvs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channel_module, "_SO_RCVBUFFORCE", socket.SO_RCVBUF)
    poor = open_kernel()
    steps = [Step(Op.REMOVE_VIRTUAL, VirtualServer(Family.IPV4, fwmark=mark)) for mark in range(1, 5001)]

    assert poor.apply(steps) == kernel.apply(steps) == [errno.ESRCH] * 5000
    poor.close()


def test_empty_batch_has_no_errors(kernel: NetlinkIpvs) -> None:
    assert kernel.apply([]) == []


def test_virtual_server_without_real_servers_differs_from_one_that_is_gone(kernel: NetlinkIpvs) -> None:
    assert kernel.read_virtual(WEB) is None
    kernel.apply([Step(Op.ADD_VIRTUAL, WEB, settings=WLC)])
    assert kernel.read_virtual(WEB) == (WLC, {})
    assert kernel.read() == table_of([(WEB, WLC, {})])


def test_virtual_server_that_is_removed_during_a_read_is_left_out(kernel: NetlinkIpvs) -> None:
    kernel.apply([Step(Op.ADD_VIRTUAL, WEB, settings=WLC), *web(1)])
    stale = kernel.read_virtuals()
    kernel.flush()
    kernel.read_virtuals = lambda: stale  # type: ignore[method-assign]

    assert kernel.read() == Table()


def test_equal_settings_of_real_servers_are_one_object(kernel: NetlinkIpvs) -> None:
    kernel.apply([Step(Op.ADD_VIRTUAL, WEB, settings=WLC), *web(500)])

    reals = kernel.read().reals[WEB]

    assert len(reals) == 500
    assert len({id(how) for how in reals.values()}) == 1


def test_active_connections_are_counted_per_real_server(kernel: NetlinkIpvs) -> None:
    local = real("127.0.0.1", 8080)
    kernel.apply(
        [
            Step(Op.ADD_VIRTUAL, virtual("127.0.0.1", 8081), settings=WLC),
            Step(Op.ADD_REAL, virtual("127.0.0.1", 8081), local, MASQ),
        ]
    )
    with socket.create_server(("127.0.0.1", 8080)), socket.create_connection(("127.0.0.1", 8081), 5):
        assert kernel.connections(virtual("127.0.0.1", 8081)) == {local: (1, 0)}


def test_closed_kernel_leaves_no_descriptor_and_no_thread(namespace: None) -> None:
    before = descriptors(), threading.active_count()
    open_kernel().close()
    assert (descriptors(), threading.active_count()) == before


def test_kernel_can_be_opened_in_a_thread(namespace: None) -> None:
    tables: list[Table] = []

    def read() -> None:
        kernel = open_kernel()
        tables.append(kernel.read())
        kernel.close()

    thread = threading.Thread(target=read)
    thread.start()
    thread.join()
    assert tables == [Table()]


def test_missing_capability_is_named(kernel: NetlinkIpvs) -> None:
    before = descriptors()
    os.seteuid(65534)  # the kernel takes the capabilities away with it
    try:
        with pytest.raises(Unavailable, match=r"^the capability CAP_NET_ADMIN is missing: [^\n]*$"):
            open_kernel()
    finally:
        os.seteuid(0)
    assert descriptors() == before


def test_mapped_address_keeps_its_family(kernel: NetlinkIpvs) -> None:
    mapped = virtual("::ffff:10.0.0.1")
    kernel.apply([Step(Op.ADD_VIRTUAL, mapped, settings=WLC6)])
    assert [v.address for v in kernel.read().virtuals] == [IPv6Address("::ffff:10.0.0.1")]
