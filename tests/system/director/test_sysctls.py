"""`--ipvs-sysctl`: the settings of IPVS in the director's network namespace."""

import logging
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from clusterf.host.capabilities import CAP_NET_ADMIN, _call, drop_all_but
from clusterf.reconcile.sysctls import RECOMMENDED, VALUES, SysctlKeeper
from tests.system.support.netns import joined, network_namespace
from tests.system.support.node import Node, Tree

pytestmark = pytest.mark.ipvs

PLACE = Path("/proc/sys/net/ipv4/vs")
WANTED = {**RECOMMENDED, "conn_reuse_mode": 3, "conntrack": 1}
PR_SET_KEEPCAPS, CAP_SETUID = 8, 7  # include/uapi/linux/prctl.h, capability.h
NOBODY = 65534


def values() -> dict[str, int]:
    """Return the settings in this thread's network namespace."""
    return {name: int((PLACE / name).read_text()) for name in VALUES}


@contextmanager
def other_namespace() -> Iterator[Callable[[], dict[str, int]]]:
    """Make another network namespace, and tell its settings."""
    with network_namespace():
        there = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:

        def others() -> dict[str, int]:
            with joined(Path(f"/proc/self/fd/{there}")):
                return values()

        yield others
    finally:
        os.close(there)


def test_node_keeps_sysctls_in_its_own_namespace_and_repairs_drift(namespace: None, tmp_path: Path, tree: Tree) -> None:
    before = values()
    assert all(before[name] != value for name, value in WANTED.items() if name != "conn_reuse_mode")
    tree.service("web", {"ipv4": "10.1.0.1", "tcp": 80})
    flags = ["--ipvs-sysctl", "conn_reuse_mode=3,conntrack=1"]
    with other_namespace() as others, Node(tmp_path, tree, flags=flags) as node:
        node.wait_for_table("-A -t 10.1.0.1:80 -s wlc")
        assert values() == WANTED
        assert others() == before
        done = [f"ipvs: sysctl -w net.ipv4.vs.{name}={value}  # was {before[name]}" for name, value in WANTED.items()]
        # before the first operation on the table
        assert [line for line in node.log.splitlines() if line.startswith("ipvs: ")][:6] == [
            *done,
            "ipvs: ipvsadm -A -t 10.1.0.1:80 -s wlc",
        ]

        node.forget()
        (PLACE / "sloppy_tcp").write_text("0")
        node.send(signal.SIGHUP)
        node.wait_for_log(r"^ipvs: sysctl -w net\.ipv4\.vs\.sloppy_tcp=1  # was 0$")
        assert values() == WANTED
        assert "warning: ipvs: drift: net.ipv4.vs.sloppy_tcp was set to 0 outside clusterf, repairing" in node.log
        assert node.log.count("sysctl") == 1

    assert values() == WANTED  # as the table, they stay when the node does not


def test_sysctls_are_those_of_the_namespace_of_the_thread(namespace: None) -> None:
    before = values()

    def keep_elsewhere() -> None:
        with network_namespace():
            SysctlKeeper(WANTED).keep()
            kept.append(values())

    kept: list[dict[str, int]] = []
    thread = threading.Thread(target=keep_elsewhere)
    thread.start()
    thread.join()

    assert kept == [WANTED]
    assert values() == before


@pytest.mark.parametrize(("capabilities", "kept"), [([CAP_NET_ADMIN], True), ([], False)])
def test_cap_net_admin_is_enough_for_sysctls(namespace: None, capabilities: list[int], kept: bool) -> None:
    before = values()
    pid = os.fork()
    if pid == 0:
        try:
            drop_all_but([*capabilities, CAP_SETUID])
            _call("prctl", PR_SET_KEEPCAPS, 1, 0, 0, 0)
            os.setresuid(NOBODY, NOBODY, NOBODY)
            drop_all_but(capabilities)
            SysctlKeeper(WANTED).keep()
        except OSError:
            os._exit(1)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == int(not kept)
    assert values() == (WANTED if kept else before)


def test_noop_log_can_be_replayed(namespace: None, caplog: pytest.LogCaptureFixture) -> None:
    before = values()
    caplog.set_level(logging.INFO)

    SysctlKeeper(WANTED, noop=True).keep()

    assert values() == before
    said = "\n".join(record.getMessage().removeprefix("ipvs noop: ") for record in caplog.records)
    subprocess.run(["sh", "-e"], input=said, text=True, check=True)
    assert values() == WANTED


def test_log_can_be_replayed(namespace: None, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    SysctlKeeper(WANTED).keep()
    said = "\n".join(record.getMessage().removeprefix("ipvs: ") for record in caplog.records)
    with network_namespace():
        subprocess.run(["sh", "-e"], input=said, text=True, check=True)
        assert values() == WANTED
