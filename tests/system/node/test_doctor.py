"""`clusterf doctor` in a real kernel: the commands that it prints fix what it has found."""

import ctypes
import json
import os
import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner

from clusterf.cli.main import main
from clusterf.doctor.model import Finding
from clusterf.reconcile.sysctls import RECOMMENDED, SysctlKeeper
from tests.system.support.netns import network_namespace
from tests.system.support.node import ipvsadm

pytestmark = pytest.mark.ipvs

CLONE_NEWNS = 0x20000
VIPS = ["--vip", "10.1.1.1", "--vip", "fd00:1::1"]
ODD = "v.5;'$x"


def doctor(*arguments: str) -> tuple[int, list[Finding]]:
    """Return the exit status of the command, and its findings."""
    result = CliRunner().invoke(main, ["doctor", "--json", *arguments], catch_exceptions=False)
    return result.exit_code, [Finding(**json.loads(line)) for line in result.stdout.splitlines()]


def not_ok(findings: Sequence[Finding]) -> list[tuple[str, str]]:
    """Return the levels and checks of findings that are not ok and can be fixed in a namespace."""
    return [(one.level, one.check) for one in findings if one.level != "ok" and one.check != "table"]


def fix(findings: Sequence[Finding]) -> None:
    """Run the commands of the findings that are not ok, each as it was printed."""
    for one in findings:
        if one.level != "ok" and one.check != "table":
            assert one.command, one
            subprocess.run(["sh", "-ec", one.command], check=True, stdout=subprocess.DEVNULL)


def conf(interface: str, setting: str, value: int) -> None:
    Path("/proc/sys/net/ipv4/conf", interface, setting).write_text(str(value))


@pytest.fixture
def wires(namespace: None) -> None:
    """Two interfaces that answer ARP, one of them with a name that a shell must not read, and a tunnel."""
    commands = ["link", "add", "v0", "type", "veth", "peer", "name", ODD]
    subprocess.run(["ip", *commands], check=True)
    batch = "link add t0 type ipip local 10.9.0.1 remote 10.9.0.2\nlink set v0 up\nlink set t0 up\n"
    subprocess.run(["ip", "-batch", "-"], input=batch, text=True, check=True)
    subprocess.run(["ip", "link", "set", ODD, "up"], check=True)


def test_printed_commands_fix_a_director(wires: None) -> None:
    masq = ["-A -t 10.1.1.1:80", "-a -t 10.1.1.1:80 -r 10.3.0.1 -m", "-A -t [fd00:1::1]:80"]
    ipvsadm("-R", stdin="\n".join([*masq, "-a -t [fd00:1::1]:80 -r [fd00:3::1]:80 -m"]))
    for interface in ("v0", ODD, "default"):
        conf(interface, "rp_filter", 1)

    status, found = doctor(*VIPS, "--ipvs-sysctl", "conn_reuse_mode=2")

    assert status == 1
    assert not_ok(found) == [
        *[("warn", "sysctl")] * len(RECOMMENDED),
        *[("bad", "forwarding")] * 2,
        *[("warn", "rp_filter")] * 2,
        *[("bad", "vip")] * 2,
    ]
    fix(found)
    status, found = doctor(*VIPS, "--ipvs-sysctl", "conn_reuse_mode=2")
    assert (status, not_ok(found)) == (0, [])
    assert {one.check for one in found} >= {"module", "schedulers", "capability", "netlink"}


def test_director_without_masq_is_warned_about_forwarding(namespace: None) -> None:
    ipvsadm("-R", stdin="-A -t 10.1.1.1:80\n-a -t 10.1.1.1:80 -r 10.3.0.1 -i\n-a -t 10.1.1.1:80 -r 10.3.0.2 -g\n")
    status, found = doctor()
    assert status == 0
    assert [one for one in not_ok(found) if one[1] == "forwarding"] == [("warn", "forwarding")] * 2


def test_printed_commands_fix_a_real_server(wires: None) -> None:
    batch = "address add 10.1.1.1/24 dev v0\naddress add fd00:1::1/64 dev v0 nodad\n"
    subprocess.run(["ip", "-batch", "-"], input=batch, text=True, check=True)
    for interface, setting in (("all", "rp_filter"), ("default", "rp_filter"), (ODD, "arp_announce")):
        conf(interface, setting, 1)
    conf(ODD, "arp_ignore", 3)

    status, found = doctor("--role", "real-server", *VIPS)

    assert status == 1
    assert not_ok(found) == [
        ("bad", "vip"),
        ("bad", "vip"),
        ("bad", "arp"),
        ("bad", "rp_filter"),
        *[("warn", "rp_filter")] * 2,
    ]
    fix(found)
    status, found = doctor("--role", "real-server", *VIPS)
    assert (status, not_ok(found)) == (0, [])


def test_interface_name_may_be_any_bytes(namespace: None) -> None:
    subprocess.run([b"ip", b"link", b"add", b"v\xff", b"up", b"type", b"veth", b"peer", b"name", b"v1"], check=True)
    Path("/proc/sys/net/ipv4/conf", os.fsdecode(b"v\xff"), "rp_filter").write_text("1")
    _, found = doctor("--role", "real-server")
    assert [one.level for one in found if r"strict on v\xff" in one.text] == ["warn"]


def test_read_only_proc_is_found_and_named_when_settings_cannot_be_written() -> None:
    bind = "mount --make-rprivate / && mount --bind /proc/sys /proc/sys && mount -o remount,bind,ro /proc/sys"
    seen: list[object] = []

    def check() -> None:
        # the mounts and the network of this thread only
        assert ctypes.CDLL(None).unshare(CLONE_NEWNS) == 0
        with network_namespace():
            subprocess.run(["sh", "-ec", bind], check=True)
            with pytest.raises(OSError, match=r"failed: sysctl -w .*: Read-only file system"):
                SysctlKeeper(RECOMMENDED).keep()
            (proc,) = [one for one in doctor()[1] if one.check == "proc"]
            seen.append(proc.level)
            subprocess.run(["sh", "-ec", proc.command], check=True)
            seen.append([one for one in doctor()[1] if one.check == "proc"])
            SysctlKeeper(RECOMMENDED).keep()
            seen.append("kept")

    thread = threading.Thread(target=check)
    thread.start()
    thread.join()
    assert seen == ["warn", [], "kept"]
