"""Health checks as clients see them, and an outage of the director's own network."""

import contextlib
import time
from collections.abc import Iterator

import pytest

from tests.servers import Server, answer
from tests.system.support.dataplane import (
    BACKENDS,
    ECHO_BACKEND,
    VIPS,
    WEB_BACKEND,
    DataPlane,
    inside,
    ip,
    set_switches,
)

pytestmark = pytest.mark.ipvs

CHECK = {
    "type": "http",
    "port": WEB_BACKEND,
    "interval": 0.5,
    "fast_interval": 0.3,
    "timeout": 0.5,
    "jitter": 0.1,
    "rise": 2,
    "fall": 3,
}
IN_TIME = 0.5 * 1.1 + 0.5 + 2 * 0.3 + 2.0  # seconds; the last ones for the processes in the lab's kernel
REFERENCE = f"{BACKENDS['b1']['ipv4']}:{ECHO_BACKEND}"  # a reference in the network of the backends
CANARY = "10.9.0.2"  # a backend, and a reference, in the network of the client
CANARY_VIP = "10.107.107.1"
CANARY_PORT, REFERENCE_PORT = 8081, 9000


@pytest.fixture(scope="module")
def running_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DataPlane]:
    folder = tmp_path_factory.mktemp("dataplane")
    with DataPlane.build(folder, ["--health-reference", REFERENCE, "--removal-hold", "0"]) as plane:
        set_switches(plane.director.namespace, {"ipv6/conf/all/keep_addr_on_down": 1})
        for service in ("web", "echo"):
            plane.tree.put(f"services/{service}/health", CHECK)
        yield plane


@pytest.fixture
def plane(running_plane: DataPlane) -> DataPlane:
    running_plane.set_weights(b1=10, b2=10)
    settle(running_plane)
    running_plane.director.forget()
    return running_plane


@pytest.fixture
def canary(plane: DataPlane) -> Iterator[Server]:
    """A backend in another network than the others, to count probes."""
    director = plane.director
    with inside(plane.client.namespace):
        server = Server(answer(200), host=CANARY, port=CANARY_PORT)
    with server:
        plane.tree.put("services/canary/health", {**CHECK, "port": CANARY_PORT})
        plane.tree.service("canary", {"ipv4": CANARY_VIP, "tcp": 80}, c={"ipv4": CANARY, "tcp": CANARY_PORT})
        director.wait_for(lambda: any(f"-r {CANARY}:{CANARY_PORT} -m -w 10" in line for line in director.table()))
        settle(plane)
        director.forget()
        yield server
    plane.tree.remove("services/canary")
    director.wait_for(lambda: not any(f"{CANARY_VIP}:" in line for line in director.table()))


@contextlib.contextmanager
def links_down(plane: DataPlane, canary: Server) -> Iterator[None]:
    """Take down the director's links to the backends, and up again."""
    # the response of a reference is valid for a second
    wait_for_requests(plane, canary, 5)
    set_links(plane, "down")
    try:
        yield
    finally:
        set_links(plane, "up")


def set_links(plane: DataPlane, state: str) -> None:
    ip("".join(f"link set {backend} {state}\n" for backend in BACKENDS), plane.director.namespace)


def test_new_connections_avoid_a_failing_backend_and_established_ones_continue(plane: DataPlane) -> None:
    with plane.client.talk(VIPS["ipv4"]) as one, plane.client.talk(VIPS["ipv4"]) as other:
        talks = {talk.say("before"): talk for talk in (one, other)}
        assert talks.keys() == BACKENDS.keys()

        died = time.monotonic()
        plane.web_servers["b1"].stop()
        plane.director.wait_for_weight("b1", 0)
        assert time.monotonic() - died < IN_TIME

        assert plane.client.backends(VIPS["ipv4"]) == plane.client.backends(VIPS["ipv6"]) == {"b2"}
        for backend, talk in talks.items():
            assert talk.say("meanwhile") == backend

        plane.web_servers["b1"].start()
        plane.director.wait_for_weight("b1", 10)
        assert plane.client.backends(VIPS["ipv4"]) == plane.client.backends(VIPS["ipv6"]) == {"b1", "b2"}
        for backend, talk in talks.items():
            assert talk.say("after") == backend

    settle(plane)
    operations = plane.director.operations
    assert not [line for line in operations if BACKENDS["b2"]["ipv4"] in line or BACKENDS["b2"]["ipv6"] in line]
    assert sorted(line.rpartition(" ")[2] for line in operations) == ["0"] * 4 + ["10"] * 4


def test_table_is_kept_while_the_director_has_lost_backends_and_reference(plane: DataPlane, canary: Server) -> None:
    director = plane.director
    with links_down(plane, canary):
        director.wait_for_log(rf"^error: health: most targets are failing and no reference responds \({REFERENCE}\)")
        wait_for_requests(plane, canary, 4)
        # not even a backend that fails alone goes down
        canary.behaviour = answer(500)
        wait_for_requests(plane, canary, 3)
        canary.behaviour = answer(200)
        wait_for_requests(plane, canary, 1)
        marked = mark(plane, "rr")
        assert director.operations == [marked]

    director.wait_for_log("^warning: health: .*: unfreezing verdicts after .* seconds")
    wait_for_requests(plane, canary, 5)
    assert plane.client.backends(VIPS["ipv4"]) == plane.client.backends(VIPS["ipv6"]) == {"b1", "b2"}
    marks = [marked, mark(plane, "lc")]
    assert director.operations == marks

    # verdicts change again
    plane.web_servers["b2"].stop()
    director.wait_for_weight("b2", 0)
    plane.web_servers["b2"].start()
    director.wait_for_weight("b2", 10)


def test_unreachable_backends_go_down_if_a_reference_responds(plane: DataPlane, canary: Server) -> None:
    director = plane.director
    # one reference is enough: the other is unreachable as before
    with inside(plane.client.namespace):
        reference = Server(answer(200), host=CANARY, port=REFERENCE_PORT)
    with reference:
        assert director.stop() == 0
        director.start("--health-reference", f"{CANARY}:{REFERENCE_PORT}")
        wait_for_requests(plane, canary, 3)

        with links_down(plane, canary):
            for backend in BACKENDS:
                director.wait_for_weight(backend, 0)
            assert not [line for line in director.operations if CANARY in line]
        for backend in BACKENDS:
            director.wait_for_weight(backend, 10)
        assert "most targets are failing" not in director.log


def settle(plane: DataPlane) -> None:
    """Wait until the director has printed the present table."""
    plane.director.wait_for(lambda: plane.director.tables[-1:] == [plane.director.table()])


def wait_for_requests(plane: DataPlane, server: Server, count: int) -> None:
    """Wait for `count` more requests to the server."""
    before = len(server.requests)
    plane.director.wait_for(lambda: len(server.requests) >= before + count)


def mark(plane: DataPlane, scheduler: str) -> str:
    """Change the canary's frontend, wait until it is applied, and return its operation."""
    plane.tree.put("services/canary/frontend", {"ipv4": CANARY_VIP, "tcp": 80, "scheduler": scheduler})
    words = f"-t {CANARY_VIP}:80 -s {scheduler}"
    plane.director.wait_for(lambda: f"-A {words}" in plane.director.table())
    settle(plane)
    return f"ipvsadm -E {words}"
