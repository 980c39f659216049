"""What leaves at once, what drains, and for how long: the kernel's own connections of this network namespace."""

import contextlib
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.system.support.node import Node, Tree, ipvsadm, saved, table
from tests.waiting import wait_until

pytestmark = pytest.mark.ipvs

LONG, SHORT = 60, 1  # seconds of drain_timeout: longer than a test lasts, and one that it can wait for
MARK = 7
EXPIRE_QUIESCENT = Path("/proc/sys/net/ipv4/vs/expire_quiescent_template")

Live = tuple[Node, Tree]

HERE = {"ipv4": "127.0.0.1"}


@pytest.fixture(scope="module")
def server(running: Live) -> Iterator[None]:
    """What accepts connections at port 8080, in the network namespace of the module's node."""
    with socket.create_server(("127.0.0.1", 8080), backlog=64):
        yield


@contextlib.contextmanager
def connect(port: int = 8081, *, mark: int = 0) -> Iterator[None]:
    """Be connected to a virtual server of this namespace."""
    with socket.socket() as client:
        client.settimeout(5)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, mark)
        client.connect(("127.0.0.1", port))
        yield


def serve(live: Live, frontend: dict[str, Any], **backend: Any) -> None:
    """Write a service of one backend here, and wait until it is in force."""
    node, tree = live
    tree.service("web", {**HERE, "drain_timeout": LONG, **frontend}, b={**HERE, **backend})
    node.wait_for(lambda: len(node.tables[-1]) == 2)
    node.forget()


def leave(live: Live) -> list[str]:
    """Remove the backend; return the operations once it is gone, save for what they are about."""
    node, tree = live
    tree.remove("services/web/backends/b")
    node.wait_for(lambda: len(node.tables[-1]) == 1)
    return [re.sub(r"ipvsadm (-.) .*?( -w 0)?$", r"\1\2", operation) for operation in node.operations]


def weight() -> int:
    """Return the weight of the only real server."""
    (found,) = re.findall(r"-w (\d+)", "\n".join(saved()))
    return int(found)


def count(column: str) -> int:
    """Return what ipvsadm says of the only real server."""
    (line,) = re.findall("-> 127.*", ipvsadm("-Ln", "--persistent-conn"))
    _, _, _, *counts = line.split()
    return int(counts[["persistent", "active", "inactive"].index(column)])


AT_ONCE = ["-d"]
LOOKED_AT_TWICE = ["-e -w 0", "-d"]


def test_real_server_without_connections_is_removed_at_once(live: Live) -> None:
    serve(live, {"tcp": 8081}, tcp=8080)
    assert leave(live) == AT_ONCE


def test_real_server_with_recent_connections_gets_weight_0_before_it_is_removed(live: Live, server: None) -> None:
    serve(live, {"tcp": 8081}, tcp=8080)
    with connect():
        pass
    wait_until(lambda: (count("active"), count("inactive")) == (0, 1))
    assert leave(live) == LOOKED_AT_TWICE


def test_drain_timeout_of_zero_cuts_connections(live: Live, server: None) -> None:
    serve(live, {"tcp": 8081, "drain_timeout": 0}, tcp=8080)
    with connect():
        assert leave(live) == AT_ONCE


@pytest.mark.parametrize("one_packet", [False, True])
def test_real_server_of_a_fwmark_drains_except_with_one_packet_scheduling(
    live: Live, server: None, *, one_packet: bool
) -> None:
    node, tree = live
    serve(live, {"tcp": 8080, "fwmark": MARK, "one_packet": one_packet}, tcp=8080)
    with connect(9, mark=MARK):
        assert count("active") == 1
        if one_packet:
            assert leave(live) == AT_ONCE
            return
        tree.remove("services/web/backends/b")
        node.wait_for(lambda: weight() == 0)
        node.forget()
    node.wait_for(lambda: len(node.tables[-1]) == 1)
    assert len(node.operations) == 1


@pytest.mark.parametrize(
    ("frontend", "operations"),
    [
        ({"udp": 5300}, AT_ONCE),
        ({"udp": 5300, "one_packet": True}, AT_ONCE),
        ({"udp": 53, "fwmark": MARK, "one_packet": True}, AT_ONCE),
        # the kernel counts it as inactive
        ({"udp": 53, "fwmark": MARK}, LOOKED_AT_TWICE),
    ],
)
def test_real_server_of_udp_is_removed_at_once(live: Live, frontend: dict[str, Any], operations: list[str]) -> None:
    serve(live, frontend, udp=53)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, MARK if "fwmark" in frontend else 0)
        client.sendto(b"question", ("127.0.0.1", 5300))
        assert ("UDP" in ipvsadm("-Lcn")) != ("one_packet" in frontend)
        assert leave(live) == operations


def test_persistence_of_a_client_does_not_hold_up_a_removal(live: Live, server: None) -> None:
    serve(live, {"tcp": 8081, "persistence": {"timeout": 3600}}, tcp=8080)
    with connect():
        pass
    wait_until(lambda: (count("persistent"), count("active")) == (1, 0))
    assert leave(live) == LOOKED_AT_TWICE


def test_drain_ends_although_a_persistent_client_keeps_connecting(live: Live, server: None) -> None:
    node, tree = live
    EXPIRE_QUIESCENT.write_text("0")  # with 1 it is sent elsewhere
    frontend = {**HERE, "tcp": 8082, "persistence": {"timeout": 3600}}
    serve(live, frontend, tcp=8080)
    with connect(8082):
        tree.remove("services/web/backends/b")
        node.wait_for(lambda: weight() == 0)
        with connect(8082):
            assert count("active") == 2
            tree.put("services/web/frontend", {**frontend, "drain_timeout": SHORT})
            node.wait_for_table("-A -t 127.0.0.1:8082 -s wlc -p 3600")


def test_once_drains_and_continues_the_drain_of_an_earlier_node(node: Node, tree: Tree) -> None:
    frontend = {**HERE, "tcp": 8081, "drain_timeout": LONG}
    virtual, real = "-t 127.0.0.1:8081", "-r 127.0.0.1:8080"
    tree.service("web", frontend, b={**HERE, "tcp": 8080})
    assert node.once() == 0
    with socket.create_server(("127.0.0.1", 8080)), connect():
        tree.remove("services/web/backends/b")
        # a shadow of the kernel has no connections
        assert node.once("--noop") == 0
        assert node.operations == [f"ipvsadm -d {virtual} {real}"]

        # a virtual server that is to go for the lack of real servers drains as any other
        assert node.once("--ipvs-elide", "--once-timeout", "4") == 1
        assert "error: --once: not applied within 4 seconds, giving up" in node.log
        assert saved() == table(f"-A {virtual} -s wlc\n-a {virtual} {real} -m -w 0")

        tree.put("services/web/frontend", {**frontend, "drain_timeout": SHORT})
        assert node.once() == 0
        assert node.operations == [f"ipvsadm -d {virtual} {real}"]
    assert node.only_table == saved() == table(f"-A {virtual} -s wlc\n")
