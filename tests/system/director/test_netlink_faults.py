"""What can go wrong between a node and its kernel, made to go wrong in a real one."""

import contextlib
import errno
import signal
import socket
import subprocess
from collections.abc import Iterator
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from clusterf.ipvs.kernel import Unavailable
from clusterf.ipvs.netlink.client import NetlinkIpvs, open_kernel
from clusterf.ipvs.table import (
    Method,
    Op,
    RealServer,
    RealServerSettings,
    ServiceFlag,
    Step,
    Table,
    VirtualServer,
    VirtualServerSettings,
)
from clusterf.lib.addresses import Family, Protocol
from tests.system.support.node import Node, Tree, ipvsadm
from tests.waiting import wait_until

pytestmark = pytest.mark.ipvs

WLC = VirtualServerSettings("wlc", ServiceFlag(0), 0, 0xFFFFFFFF)
MASQ = RealServerSettings(Method.MASQ, 10)
WEB = VirtualServer(Family.IPV4, Protocol.TCP, IPv4Address("10.107.107.107"), 1337)


@pytest.fixture
def kernel(namespace: None) -> Iterator[NetlinkIpvs]:
    kernel = open_kernel()
    yield kernel
    kernel.close()


def reals(count: int) -> list[Step]:
    addresses = (IPv4Address(0x0A030000 + n) for n in range(count))
    return [Step(Op.ADD_REAL, WEB, RealServer(address, 80), MASQ) for address in addresses]


def virtuals(first: int, count: int) -> list[Step]:
    addresses = (IPv4Address(0x0A040000 + n) for n in range(first, first + count))
    named = (VirtualServer(Family.IPV4, Protocol.TCP, address, 80) for address in addresses)
    return [Step(Op.ADD_VIRTUAL, virtual, settings=WLC) for virtual in named]


@contextlib.contextmanager
def interrupted_all_the_time() -> Iterator[list[int]]:
    """Have a signal handler run every millisecond; it fills the list that this yields."""
    signals: list[int] = []
    before = signal.signal(signal.SIGALRM, lambda number, _: signals.append(number))
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
    try:
        yield signals
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_lost_answers_are_an_error_and_a_read_shows_what_was_done(
    kernel: NetlinkIpvs,
) -> None:
    added = [Step(Op.ADD_VIRTUAL, WEB, settings=WLC), *reals(100)]
    refused = [Step(Op.REMOVE_VIRTUAL, VirtualServer(Family.IPV4, fwmark=mark)) for mark in range(1, 151)]
    kernel._channel._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)

    with pytest.raises(OSError) as raised:
        kernel.apply([*refused, *added])

    assert raised.value.errno == errno.ENOBUFS
    assert len(kernel.read().reals[WEB]) == 100
    assert kernel.apply(refused) == [errno.ESRCH] * 150


def test_signals_during_exchanges_lose_nothing(kernel: NetlinkIpvs) -> None:
    steps = [Step(Op.ADD_VIRTUAL, WEB, settings=WLC), *reals(3000), *reals(200)]

    with interrupted_all_the_time() as signals:
        errors = kernel.apply(steps)
        table = kernel.read()

    assert len(signals) > 10
    assert errors == [0] * 3001 + [errno.EEXIST] * 200
    assert len(table.reals[WEB]) == 3000


def test_virtual_servers_are_read_completely_while_the_kernel_rearranges_its_table(kernel: NetlinkIpvs) -> None:
    for count in range(0, 4000, 250):
        kernel.apply(virtuals(count, 250))
        # the kernel's own answer may have some twice, and others not at all
        assert len(kernel.read_virtuals()) == count + 250


def test_only_the_kernel_can_write_to_the_socket(kernel: NetlinkIpvs) -> None:
    port, _ = kernel._channel._socket.getsockname()
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 16) as stranger, pytest.raises(ConnectionRefusedError):
        stranger.sendto(bytes([16, *[0] * 15]), (port, 0))


def loaded() -> list[str]:
    """Return the modules of IPVS, ip_vs itself last."""
    names = [line.split()[0] for line in Path("/proc/modules").read_text().splitlines()]
    return sorted((name for name in names if name == "ip_vs" or name.startswith("ip_vs_")), reverse=True)


@contextlib.contextmanager
def unloaded() -> Iterator[None]:
    """Take ip_vs out of the kernel, and what would load it when it is asked for; then put all back."""
    modules = loaded()
    if "ip_vs" not in modules:
        pytest.skip("ip_vs is no module of this kernel")

    def unload() -> bool:
        # (modules that depend on it are unloaded first, and may be gone already after a failed attempt)
        subprocess.run(["rmmod", *loaded()], capture_output=True, check=False)
        return not loaded()

    loader = Path("/proc/sys/kernel/modprobe")
    before = loader.read_text()
    try:
        loader.write_text("/bin/false")
        wait_until(unload, 60)  # the namespaces of other tests end some time after these
        yield
    finally:
        loader.write_text(before)
        subprocess.run(["modprobe", "-a", *modules], check=True)


@pytest.mark.first
def test_kernel_continues_after_the_module_was_reloaded(kernel: NetlinkIpvs) -> None:
    before = kernel._channel.family
    with unloaded():
        for ask in (kernel.read, kernel.flush, lambda: kernel.read_virtual(WEB), lambda: kernel.apply(reals(2))):
            with pytest.raises(OSError, match=r"the kernel module ip_vs is missing: load it with modprobe ip_vs$"):
                ask()
        with pytest.raises(Unavailable, match=r"^the kernel module ip_vs is missing: load it with modprobe ip_vs$"):
            open_kernel()

    with pytest.raises(OSError, match=r"the kernel module ip_vs was reloaded$"):
        kernel.apply(reals(2))
    assert kernel._channel.family != before
    assert kernel.apply([Step(Op.ADD_VIRTUAL, WEB, settings=WLC), *reals(2)]) == [0, 0, 0]
    assert len(kernel.read().reals[WEB]) == 2
    assert kernel.apply(reals(1) * 2) == [errno.EEXIST] * 2
    assert kernel.apply([Step(Op.REMOVE_REAL, WEB, RealServer(IPv4Address("10.9.9.9"), 80))]) == [errno.ENOENT]


@pytest.mark.first
def test_read_finds_the_module_that_was_reloaded(kernel: NetlinkIpvs) -> None:
    with unloaded():
        pass
    assert kernel.read_virtual(WEB) is None
    with unloaded():
        pass
    assert kernel.read() == Table()


@pytest.mark.first
def test_node_logs_an_unloaded_module_and_writes_the_table_after_the_reload(node: Node, tree: Tree) -> None:
    tree.service("web", {"ipv4": "10.1.0.1", "tcp": 80}, b={"ipv4": "10.3.0.1", "tcp": 80})
    with node:
        node.wait_for_table("-A -t 10.1.0.1:80 -s wlc\n-a -t 10.1.0.1:80 -r 10.3.0.1:80 -m -w 10")
        ipvsadm("-C")
        with unloaded():
            tree.put("services/web/backends/b", {"ipv4": "10.3.0.1", "tcp": 80, "weight": 7})
            node.wait_for_log(
                "^error: ipvs: the kernel module ip_vs is missing: load it with modprobe ip_vs: rereading"
            )
        node.wait_for_table("-A -t 10.1.0.1:80 -s wlc\n-a -t 10.1.0.1:80 -r 10.3.0.1:80 -m -w 7")
