"""Real servers that leave while clients talk to them: quiescent first, gone when the talk is over or time is up."""

import contextlib
import re
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from tests.system.support.dataplane import (
    BACKENDS,
    ECHO,
    ECHO_BACKEND,
    VIPS,
    WEB,
    WEB_BACKEND,
    Conversation,
    DataPlane,
    Download,
    content,
    inside,
)
from tests.system.support.node import ipvsadm
from tests.waiting import wait_until

pytestmark = pytest.mark.ipvs

VIP = VIPS["ipv4"]
LONG, SHORT = 60, 1  # seconds of drain_timeout: longer than a test lasts, and one that it can wait for
VISITS = 100  # that are counted

# further services of the echo servers, in which b1 leaves
STAYS, RETURNS, LEAVES = 7001, 7002, 7003


@pytest.fixture(scope="module")
def running_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DataPlane]:
    with DataPlane.build(tmp_path_factory.mktemp("dataplane")) as plane:
        yield plane


@pytest.fixture
def plane(running_plane: DataPlane) -> DataPlane:
    for server in running_plane.web_servers.values():
        server.pause()
    put_web(running_plane)
    set_drain_timeout(running_plane, LONG)
    running_plane.set_weights(b1=10, b2=10)
    running_plane.director.forget()
    return running_plane


def put_web(plane: DataPlane) -> None:
    plane.tree.put("services/web/frontend", {**VIPS, "tcp": WEB, "scheduler": "rr", "drain_timeout": LONG})


def set_drain_timeout(plane: DataPlane, seconds: float) -> None:
    """Set it, and wait until the node knows, which another scheduler shows."""
    scheduler = "rr" if seconds == LONG else "wrr"
    plane.tree.put("services/echo/frontend", {**VIPS, "tcp": ECHO, "scheduler": scheduler, "drain_timeout": seconds})
    plane.director.wait_for(lambda: f"-A -t {VIP}:{ECHO} -s {scheduler}" in plane.director.table())


def remove(plane: DataPlane, backend: str) -> None:
    plane.tree.remove(f"services/echo/backends/{backend}")


def weight(plane: DataPlane, backend: str, port: int = ECHO, family: str = "ipv4") -> int | None:
    """Return the weight of a backend in the service at that port, None if it is not in it."""
    vip, address = (re.escape(f"[{a}]" if family == "ipv6" else a) for a in (VIPS[family], BACKENDS[backend][family]))
    found = [re.search(rf"^-a -t {vip}:{port} -r {address}:\d+ .* -w (\d+)", line) for line in plane.director.table()]
    return next((int(match[1]) for match in found if match), None)


def web_weights(plane: DataPlane, backend: str) -> set[int | None]:
    return {weight(plane, backend, WEB, family) for family in VIPS}


def deletions(plane: DataPlane, backend: str, port: int = ECHO) -> list[str]:
    """Return the operations that delete a backend's real servers in the service at that port, or all of it."""
    address = BACKENDS[backend]["ipv4"]
    reals = [line for line in plane.director.operations if f"{VIP}:{port} " in line and f"-r {address}:" in line]
    virtuals = [line for line in plane.director.operations if line == f"ipvsadm -D -t {VIP}:{port}"]
    return [line for line in reals if " -d " in line] + virtuals


@contextlib.contextmanager
def downloads(plane: DataPlane, backend: str) -> Iterator[list[Download]]:
    """Begin a download from each family's address, all from one backend."""
    with contextlib.ExitStack() as stack:
        found = []
        for vip in VIPS.values():
            # of two, one is from each backend
            for download in [plane.client.download(vip) for _ in BACKENDS]:
                if download.backend == backend:
                    found.append(stack.enter_context(download))
                else:
                    download.close()
        assert len(found) == len(VIPS)
        yield found


def everybody_goes_to(plane: DataPlane, backend: str, answered: Sequence[str]) -> bool:
    """Wait for many new visits, and tell whether all are answered by that backend."""
    since = len(answered) + len(VIPS)  # those that were under way
    plane.director.wait_for(lambda: len(answered) >= since + VISITS)
    return set(answered[since:]) == {backend}


def finish(plane: DataPlane, backend: str, begun: Sequence[Download]) -> None:
    plane.web_servers[backend].resume()
    assert all(download.finish() == content(backend) for download in begun)


def test_downloads_through_a_leaving_real_server_complete_while_new_ones_go_elsewhere(
    plane: DataPlane,
) -> None:
    with downloads(plane, "b1") as begun, plane.client.visits(*VIPS.values()) as answered:
        plane.director.wait_for(lambda: set(answered) == {"b1", "b2"})

        plane.tree.remove("services/web/backends/b1")
        plane.director.wait_for(lambda: web_weights(plane, "b1") == {0})
        assert everybody_goes_to(plane, "b2", answered)
        assert web_weights(plane, "b1") == {0}

        finish(plane, "b1", begun)
        plane.director.wait_for(lambda: web_weights(plane, "b1") == {None})


def test_downloads_through_a_service_complete_while_another_takes_over_its_virtual_servers(plane: DataPlane) -> None:
    tree = plane.tree
    with downloads(plane, "b1") as begun, plane.client.visits(*VIPS.values()) as answered:
        tree.service("web2", {**VIPS, "tcp": WEB, "scheduler": "rr"}, b={**BACKENDS["b2"], "tcp": WEB_BACKEND})
        tree.remove("services/web/backends/b2")
        plane.director.wait_for_log("belongs to service web", count=2)
        plane.director.wait_for(lambda: web_weights(plane, "b2") == {None})
        assert everybody_goes_to(plane, "b1", answered)

        tree.remove("services/web")
        plane.director.wait_for(lambda: web_weights(plane, "b1") == {0})
        assert everybody_goes_to(plane, "b2", answered)
        assert web_weights(plane, "b1") == {0}

        finish(plane, "b1", begun)
        plane.director.wait_for(lambda: web_weights(plane, "b1") == {None})
        assert not [line for line in plane.director.operations if " -D " in line]

    put_web(plane)
    tree.remove("services/web2")


def test_no_request_fails_while_real_servers_come_and_go(plane: DataPlane) -> None:
    backend = {**BACKENDS["b1"], "tcp": WEB_BACKEND}
    with plane.client.visits(*VIPS.values()) as answered:
        for _ in range(5):
            plane.tree.remove("services/web/backends/b1")
            plane.director.wait_for(lambda: web_weights(plane, "b1") == {None})
            assert everybody_goes_to(plane, "b2", answered)
            plane.tree.put("services/web/backends/b1", backend)
            plane.director.wait_for(lambda: web_weights(plane, "b1") == {10})


def test_real_server_drains_until_its_connection_ends(plane: DataPlane) -> None:
    with plane.client.talk(VIP) as established:
        leaving = established.say("before")
        (other,) = BACKENDS.keys() - {leaving}

        remove(plane, leaving)
        plane.director.wait_for(lambda: weight(plane, leaving) == 0)

        with plane.client.talk(VIP) as new:
            assert new.say("new") == other
        # without connections of the other family: removed there at once
        plane.director.wait_for(lambda: plane.director.weights(leaving).count(0) == 1)
        # several looks at what drains find that it may not go yet
        plane.tree.put(f"services/echo/backends/{other}", {**BACKENDS[other], "tcp": ECHO_BACKEND, "weight": 9})
        plane.director.wait_for(lambda: weight(plane, other) == 9)
        assert established.say("after") == leaving
        assert deletions(plane, leaving) == []

    plane.director.wait_for(lambda: weight(plane, leaving) is None)


def test_real_server_is_removed_with_its_connections_after_the_drain_timeout(plane: DataPlane) -> None:
    set_drain_timeout(plane, SHORT)
    with plane.client.talk(VIP) as established:
        leaving = established.say("before")

        remove(plane, leaving)
        plane.director.wait_for(lambda: weight(plane, leaving) == 0)
        assert established.say("meanwhile") == leaving
        plane.director.wait_for(lambda: weight(plane, leaving) is None)


def test_real_server_that_returns_while_it_drains_gets_its_weight_back(plane: DataPlane) -> None:
    with plane.client.talk(VIP) as established:
        leaving = established.say("before")
        address = BACKENDS[leaving]["ipv4"]
        remove(plane, leaving)
        plane.director.wait_for(lambda: weight(plane, leaving) == 0)

        plane.set_weights(**{leaving: 12})
        assert established.say("after") == leaving

    # it is one of those that stay, also when no connection is left and its time would be up
    wait_until(lambda: active(plane) == 0)
    plane.set_weights(**{leaving: 13})
    real = f"-t {VIP}:{ECHO} -r {address}:{ECHO_BACKEND} -m"
    plane.director.wait_for(lambda: f"ipvsadm -e {real} -w 13" in plane.director.operations)
    assert [line for line in plane.director.operations if real in line] == [
        f"ipvsadm -e {real} -w {w}" for w in (0, 12, 13)
    ]


def active(plane: DataPlane) -> int:
    """Return the active connections of the echo service of IPv4."""
    with inside(plane.director.namespace):
        listed = ipvsadm("-Ln", "-t", f"{VIP}:{ECHO}")
    return sum(int(count) for count in re.findall(r"Masq +\d+ +(\d+) +\d+", listed))


def test_new_drain_timeout_counts_for_running_drains(plane: DataPlane) -> None:
    with plane.client.talk(VIP) as established:
        leaving = established.say("before")
        remove(plane, leaving)
        plane.director.wait_for(lambda: weight(plane, leaving) == 0)
        set_drain_timeout(plane, 0)
        plane.director.wait_for(lambda: weight(plane, leaving) is None)


def test_virtual_server_is_kept_while_a_real_server_drains(plane: DataPlane) -> None:
    with plane.client.talk(VIP) as established:
        backend = established.say("before")
        (other,) = BACKENDS.keys() - {backend}

        plane.tree.remove("services/echo/frontend")
        plane.director.wait_for(lambda: weight(plane, backend) == 0)
        plane.director.wait_for(lambda: weight(plane, other) is None)
        assert established.say("after") == backend

        # one that comes back, at the same port and at another, drains no more
        plane.tree.service("echo", {**VIPS, "tcp": ECHO, "scheduler": "rr", "drain_timeout": LONG})
        plane.tree.service("more", {"ipv4": VIP, "tcp": STAYS}, b={**BACKENDS[other], "tcp": ECHO_BACKEND})
        plane.director.wait_for(lambda: weight(plane, backend) == weight(plane, other) == 10)
        plane.director.wait_for(lambda: weight(plane, other, STAYS) == 10)
        assert deletions(plane, backend) == []

        # while one that has moved does, where it was
        plane.tree.remove("services/more")
        plane.tree.put("services/echo/frontend", {**VIPS, "tcp": STAYS, "drain_timeout": LONG})
        plane.director.wait_for(lambda: weight(plane, backend) == 0)
        plane.director.wait_for(lambda: weight(plane, backend, STAYS) == 10)
        with plane.client.talk(VIP, STAYS) as new:
            assert new.say("new") in BACKENDS
        assert established.say("after") == backend

    plane.director.wait_for(lambda: not any(f"-t {VIP}:{ECHO} " in line for line in plane.director.table()))


@contextlib.contextmanager
def service(plane: DataPlane, port: int, health: dict[str, Any] | None = None) -> Iterator[Conversation]:
    """Make a service `service-PORT` of both backends, and talk through it to b1."""
    name, backends = f"service-{port}", {b: {**a, "tcp": ECHO_BACKEND} for b, a in BACKENDS.items()}
    if health is not None:
        plane.tree.put(f"services/{name}/health", health)
    plane.tree.service(name, {"ipv4": VIP, "tcp": port, "scheduler": "rr", "drain_timeout": LONG}, **backends)
    plane.director.wait_for(lambda: weight(plane, "b1", port) == weight(plane, "b2", port) == 10)
    with contextlib.ExitStack() as stack:
        talks = [stack.enter_context(plane.client.talk(VIP, port)) for _ in BACKENDS]
        yield next(talk for talk in talks if talk.say("before") == "b1")
    plane.director.wait_for(lambda: weight(plane, "b1", port) in {None, 10})
    with contextlib.suppress(FileNotFoundError):
        plane.tree.remove(f"services/{name}")


def test_backend_that_fails_its_check_drains_before_it_is_removed(plane: DataPlane) -> None:
    check = {"type": "tcp", "port": WEB_BACKEND, "interval": 0.3, "fast_interval": 0.1, "fall": 1, "rise": 1}
    with service(plane, RETURNS, {**check, "on_down": "remove"}) as established:
        plane.web_servers["b1"].stop()
        plane.director.wait_for(lambda: weight(plane, "b1", RETURNS) == 0)
        with plane.client.talk(VIP, RETURNS) as new:
            assert new.say("new") == "b2"
        assert established.say("meanwhile") == "b1"

        plane.web_servers["b1"].start()
        plane.director.wait_for(lambda: weight(plane, "b1", RETURNS) == 10)
        assert deletions(plane, "b1", RETURNS) == []


def test_drain_survives_a_crash_of_the_node_and_still_ends(plane: DataPlane) -> None:
    director, tree = plane.director, plane.tree
    check = {"type": "tcp", "interval": 0.3}
    with service(plane, STAYS) as stays, service(plane, RETURNS, check) as returns, service(plane, LEAVES) as leaves:
        for port in (STAYS, RETURNS, LEAVES):
            tree.remove(f"services/service-{port}/backends/b1")
        director.wait_for(lambda: [weight(plane, "b1", port) for port in (STAYS, RETURNS, LEAVES)] == [0, 0, 0])

        director.crash()
        tree.put(f"services/service-{RETURNS}/backends/b1", {**BACKENDS["b1"], "tcp": ECHO_BACKEND})
        tree.remove(f"services/service-{LEAVES}")
        director.start()
        director.wait_for(lambda: weight(plane, "b1", RETURNS) == 10)
        director.wait_for(lambda: weight(plane, "b2", LEAVES) in {0, None})
        # once more, now that drains were checked in between
        tree.put(f"services/service-{STAYS}/backends/b2", {**BACKENDS["b2"], "tcp": ECHO_BACKEND, "weight": 9})
        director.wait_for(lambda: weight(plane, "b2", STAYS) == 9)
        assert weight(plane, "b1", STAYS) == weight(plane, "b1", LEAVES) == 0
        assert [talk.say("after") for talk in (stays, returns, leaves)] == ["b1"] * 3
        assert not [line for port in (STAYS, RETURNS, LEAVES) for line in deletions(plane, "b1", port)]

    director.wait_for(lambda: not any(f"-t {VIP}:{LEAVES} " in line for line in director.table()))


def test_drain_survives_a_crash_of_the_director_process(plane: DataPlane) -> None:
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
