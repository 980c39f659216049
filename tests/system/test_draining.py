"""Real servers that leave while clients talk to them: quiescent first, gone when the talk is over or time is up."""

import contextlib
import re
import socket
from collections.abc import Iterator

import pytest

from tests.system.dataplane import BACKENDS, ECHO, ECHO_BACKEND, VIPS, DataPlane, inside
from tests.system.node import Node, Tree, ipvsadm, saved, table
from tests.waiting import wait_until

pytestmark = pytest.mark.ipvs

VIP = VIPS["ipv4"]
LONG, SHORT = 60, 2  # seconds of drain_timeout: longer than a test lasts, and one that it can wait for


@pytest.fixture(scope="module")
def running_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DataPlane]:
    with DataPlane.build(tmp_path_factory.mktemp("dataplane")) as plane:
        yield plane


@pytest.fixture
def plane(running_plane: DataPlane) -> DataPlane:
    set_drain_timeout(running_plane, LONG)
    running_plane.set_weights(b1=10, b2=10)
    running_plane.director.forget()
    return running_plane


def set_drain_timeout(plane: DataPlane, seconds: float) -> None:
    """Set it, and wait until the node knows, which another scheduler shows."""
    scheduler = "rr" if seconds == LONG else "wrr"
    plane.tree.put("services/echo/frontend", {**VIPS, "tcp": ECHO, "scheduler": scheduler, "drain_timeout": seconds})
    plane.director.wait_for(lambda: f"-A -t {VIP}:{ECHO} -s {scheduler}" in plane.director.table())


def remove(plane: DataPlane, backend: str) -> None:
    plane.tree.remove(f"services/echo/backends/{backend}")


def weight(plane: DataPlane, backend: str) -> int | None:
    """Return the weight of a backend in the echo service of IPv4, None if it is not in it."""
    name = re.escape(f"-a -t {VIP}:{ECHO} -r {BACKENDS[backend]['ipv4']}:{ECHO_BACKEND} ")
    found = [re.search(rf"^{name}.* -w (\d+)", line) for line in plane.director.table()]
    return next((int(match[1]) for match in found if match), None)


def deletions(plane: DataPlane, backend: str) -> list[str]:
    address = BACKENDS[backend]["ipv4"]
    return [command for command in plane.director.operations if " -d " in command and f"-r {address}:" in command]


def test_a_real_server_with_a_connection_drains_and_goes_when_the_connection_ends(plane: DataPlane) -> None:
    with plane.client.talk(VIP) as established:
        leaving = established.say("before")
        (other,) = BACKENDS.keys() - {leaving}

        remove(plane, leaving)
        plane.director.wait_for(lambda: weight(plane, leaving) == 0)

        with plane.client.talk(VIP) as new:
            assert new.say("new") == other
        # the connections of the other family have ended: there it goes at once
        plane.director.wait_for(lambda: plane.director.weights(leaving).count(0) == 1)
        # several looks at what drains find that it may not go yet
        plane.tree.put(f"services/echo/backends/{other}", {**BACKENDS[other], "tcp": ECHO_BACKEND, "weight": 9})
        plane.director.wait_for(lambda: weight(plane, other) == 9)
        assert established.say("after") == leaving
        assert deletions(plane, leaving) == []

    plane.director.wait_for(lambda: weight(plane, leaving) is None)


def test_a_real_server_goes_with_its_connections_when_its_time_is_up(plane: DataPlane) -> None:
    set_drain_timeout(plane, SHORT)
    with plane.client.talk(VIP) as established:
        leaving = established.say("before")

        remove(plane, leaving)
        plane.director.wait_for(lambda: weight(plane, leaving) == 0)
        assert established.say("meanwhile") == leaving
        plane.director.wait_for(lambda: weight(plane, leaving) is None)


def test_a_real_server_that_comes_back_while_it_drains_is_never_deleted(plane: DataPlane) -> None:
    with plane.client.talk(VIP) as established:
        leaving = established.say("before")
        remove(plane, leaving)
        plane.director.wait_for(lambda: weight(plane, leaving) == 0)

        plane.set_weights(**{leaving: 12})
        assert established.say("after") == leaving

    # it is one of those that stay, also when no connection is left and its time would be up
    wait_until(lambda: active(plane) == 0)
    plane.set_weights(**{leaving: 13})
    assert deletions(plane, leaving) == []


def active(plane: DataPlane) -> int:
    """Return the active connections of the echo service of IPv4."""
    with inside(plane.director.namespace):
        listed = ipvsadm("-Ln", "-t", f"{VIP}:{ECHO}")
    return sum(int(count) for count in re.findall(r"Masq +\d+ +(\d+) +\d+", listed))


def test_a_restart_does_not_cut_a_drain_short(plane: DataPlane) -> None:
    with plane.client.talk(VIP) as established:
        leaving = established.say("before")
        remove(plane, leaving)
        plane.director.wait_for(lambda: weight(plane, leaving) == 0)

        plane.director.kill("director")
        plane.director.wait_for_log("killed by SIGKILL")
        plane.write_weights({name: 8 for name in BACKENDS if name != leaving})
        (other,) = BACKENDS.keys() - {leaving}
        plane.director.wait_for(lambda: weight(plane, other) == 8)
        assert established.say("after") == leaving
        assert weight(plane, leaving) == 0

    plane.director.wait_for(lambda: weight(plane, leaving) is None)


def test_a_service_that_leaves_keeps_the_real_server_that_has_a_connection(plane: DataPlane) -> None:
    with plane.client.talk(VIP) as established:
        backend = established.say("before")

        plane.tree.remove("services/echo/frontend")
        plane.director.wait_for(lambda: weight(plane, backend) == 0)
        assert established.say("after") == backend

    plane.director.wait_for(lambda: not any(f":{ECHO} " in line for line in plane.director.table()))


def test_a_real_server_without_connections_goes_at_once(live: tuple[Node, Tree]) -> None:
    node, tree = live
    tree.service("web", {"ipv4": "10.1.0.1", "tcp": 80, "drain_timeout": LONG}, b={"ipv4": "10.3.0.1", "tcp": 80})
    node.wait_for(lambda: len(node.tables[-1]) == 2)
    node.forget()

    tree.remove("services/web/backends/b")

    node.wait_for_table("-A -t 10.1.0.1:80 -s wlc")
    assert node.operations == ["ipvsadm -d -t 10.1.0.1:80 -r 10.3.0.1:80"]


def test_a_real_server_of_udp_goes_at_once_whatever_was_sent_to_it(live: tuple[Node, Tree]) -> None:
    node, tree = live
    tree.service("dns", {"ipv4": "127.0.0.1", "udp": 5300, "drain_timeout": LONG}, b={"ipv4": "127.0.0.1", "udp": 53})
    node.wait_for(lambda: len(node.tables[-1]) == 2)
    node.forget()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.sendto(b"question", ("127.0.0.1", 5300))
        assert ipvsadm("-Lcn").count("127.0.0.1:5300") == 1

        tree.remove("services/dns/backends/b")
        node.wait_for_table("-A -u 127.0.0.1:5300 -s wlc")

    assert node.operations == ["ipvsadm -d -u 127.0.0.1:5300 -r 127.0.0.1:53"]


@contextlib.contextmanager
def local_connection(node: Node, tree: Tree, drain_timeout: float) -> Iterator[None]:
    """Connect to a real server of this namespace, and then take that from the configuration."""
    frontend = {"ipv4": "127.0.0.1", "tcp": 8081, "drain_timeout": drain_timeout}
    tree.service("web", frontend, b={"ipv4": "127.0.0.1", "tcp": 8080})
    assert node.once() == 0
    with socket.create_server(("127.0.0.1", 8080)), socket.create_connection(("127.0.0.1", 8081), 5):
        tree.remove("services/web/backends/b")
        yield


VIRTUAL = "-A -t 127.0.0.1:8081 -s wlc\n"


def test_once_waits_for_what_drains(node: Node, tree: Tree) -> None:
    with local_connection(node, tree, SHORT):
        assert node.once() == 0

    assert node.operations == [
        "ipvsadm -e -t 127.0.0.1:8081 -r 127.0.0.1:8080 -m -w 0",
        "ipvsadm -d -t 127.0.0.1:8081 -r 127.0.0.1:8080",
    ]
    assert node.only_table == saved() == table(VIRTUAL)


def test_once_gives_up_when_its_time_is_over(node: Node, tree: Tree) -> None:
    with local_connection(node, tree, LONG):
        assert node.once("--once-timeout", "1") == 1

    assert "error: --once: not applied within 1 seconds, giving up" in node.log
    assert saved() == table(VIRTUAL + "-a -t 127.0.0.1:8081 -r 127.0.0.1:8080 -m -w 0")


def test_noop_and_a_drain_timeout_of_zero_do_not_drain(node: Node, tree: Tree) -> None:
    deleted = ["ipvsadm -d -t 127.0.0.1:8081 -r 127.0.0.1:8080"]
    with local_connection(node, tree, LONG):
        assert node.once("--noop") == 0
        assert node.operations == deleted
        tree.put("services/web/frontend", {"ipv4": "127.0.0.1", "tcp": 8081, "drain_timeout": 0})
        assert node.once() == 0
        assert node.operations == deleted
    assert saved() == table(VIRTUAL)
