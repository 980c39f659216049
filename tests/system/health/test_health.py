"""The effect of health checks on the kernel's table: servers that fail and recover, a real node, a real kernel."""

import contextlib
import itertools
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import servers
from tests.servers import Authority, Behaviour, Server, answer
from tests.system.support.node import Node, Tree, saved
from tests.system.support.web import QUICK, Web, mark

pytestmark = pytest.mark.ipvs

MARGIN = 2.0  # seconds for the processes in the lab's kernel, in addition to what the check allows
NUMBERS = itertools.count(1)  # of services, so that no two tests have the same addresses


@pytest.fixture
def web(live: tuple[Node, Tree]) -> Iterator[Web]:
    node, tree = live
    with Web(tree, number=next(NUMBERS)) as web:
        yield web
    tree.clear()
    node.wait_for_table([])


def begin(node: Node, web: Web, *backends: str, **check: object) -> None:
    """Serve backends, wait until the table has them with their weights, and forget the log so far."""
    web.serve(*backends)
    web.put_check(**check)
    web.put_frontend()
    web.put_backends(*backends)
    web.wait(node, **dict.fromkeys(backends, 10))
    node.forget()


def test_failing_backend_gets_weight_0_in_time_and_its_weight_back_after_rise_successes(
    live: tuple[Node, Tree], web: Web
) -> None:
    node, _ = live
    check = {"interval": 1.0, "fast_interval": 0.2, "timeout": 0.5, "jitter": 0.1, "fall": 3, "rise": 4}
    begin(node, web, "b1", "b2", "b3", **check)

    died = time.monotonic()
    web.stop("b2")
    web.wait(node, b1=10, b2=0, b3=10)
    assert time.monotonic() - died < 1.0 * 1.1 + 0.5 + 2 * 0.2 + MARGIN
    node.wait_for_log(rf"^warning: health: web/b2: {web.address('b2')}:8080 is down: refused \(3 failures in a row, ")

    web.serve("b2")
    web.wait(node, b1=10, b2=10, b3=10)
    assert len(web.servers["b2"].requests) >= 4
    node.wait_for_log(rf"web/b2: {web.address('b2')}:8080 is up \(4 successes in a row, ")
    assert node.operations == [web.operation("-e", "b2", 0), web.operation("-e", "b2", 10)]


def test_new_backend_that_is_dead_never_gets_its_weight(live: tuple[Node, Tree], web: Web) -> None:
    node, _ = live
    begin(node, web, "b1")

    web.put_backends("b2")
    node.wait_for_log(r"web/b2: \S+ is down: refused \(3 failures in a row")
    web.wait_for_probes(node, 5, "b1")
    web.put_backends("b2", weight=20)
    web.put_backends("b1", weight=11)
    web.wait(node, b1=11, b2=0)
    assert web.operations(node, "b2") == [web.operation("-a", "b2", 0)]
    assert {web.weights(table).get("b2", 0) for table in node.tables} == {0}

    # one success is enough for a backend that has never been up
    web.serve("b2")
    web.wait(node, b1=11, b2=20)
    node.wait_for_log(r"web/b2: \S+ is up \(1 success, ")


def test_new_backend_gets_its_weight_after_one_success(live: tuple[Node, Tree], web: Web) -> None:
    node, _ = live
    begin(node, web, "b1", rise=5)
    # the server closes the connection without a response until `answered` is set
    answered: list[bool] = []
    web.serve("b2", behaviour=lambda connection: _answer_when(connection, answered))
    web.put_backends("b2")
    web.wait(node, b1=10, b2=0)
    answered.append(True)

    web.wait(node, b1=10, b2=10)

    assert node.operations == [web.operation("-a", "b2", 0), web.operation("-e", "b2", 10)]
    node.wait_for_log(r"web/b2: \S+ is up \(1 success, ")


def _answer_when(connection: servers.Connection, permitted: list[bool]) -> None:
    if permitted:
        answer(200)(connection)


def test_new_backend_with_initial_up_has_its_weight_until_fall_failures(live: tuple[Node, Tree], web: Web) -> None:
    node, _ = live
    begin(node, web, "b1", initial="up", fall=4)

    web.put_backends("b2")
    node.wait_for(lambda: web.operations(node, "b2"))
    web.wait(node, b1=10, b2=0)

    assert node.operations == [web.operation("-a", "b2", 10), web.operation("-e", "b2", 0)]
    node.wait_for_log(r"web/b2: \S+ is down: refused \(4 failures in a row")


def test_added_check_takes_out_only_the_dead_backend_after_fall_failures(live: tuple[Node, Tree], web: Web) -> None:
    node, tree = live
    web.serve("b1")
    web.serve("b2", behaviour=answer(500))
    web.put_frontend()
    web.put_backends("b1", "b2")
    web.wait(node, b1=10, b2=10)
    node.forget()

    web.put_check(fall=12)
    web.wait_for_probes(node, 3, "b2")
    assert web.weights() == {"b1": 10, "b2": 10}
    web.wait(node, b1=10, b2=0)
    node.wait_for_log(r"web/b2: \S+ is down: HTTP 500 \(12 failures in a row")
    assert node.operations == [web.operation("-e", "b2", 0)]

    node.forget()
    for change in ({"interval": 0.6}, {"path": "/other"}, {"fall": 2, "rise": 5}):
        web.put_check(**change)
        web.wait_for_probes(node, 4)
    assert any(b"GET /other " in request for request in web.servers["b1"].requests)
    with Server(answer(200), host=web.address("b1"), port=8081) as other:
        web.put_check(port=8081)
        node.wait_for(lambda: len(other.requests) >= 4)
        web.put_check()
        web.wait_for_probes(node, 1)
    web.wait_for_probes(node, 4)
    marked = mark(node, tree)
    assert node.operations == [marked]


def test_failing_backend_is_removed_with_on_down_remove(live: tuple[Node, Tree], web: Web) -> None:
    node, _ = live
    begin(node, web, "b1", "b2", on_down="remove")

    web.stop("b1")
    web.wait(node, b2=10)
    web.serve("b1")
    web.wait(node, b1=10, b2=10)

    assert web.operations(node, "b2") == []
    # a real server gets weight 0 before it is deleted
    assert web.operations(node, "b1")[-2:] == [web.operation("-d", "b1"), web.operation("-a", "b1", 10)]


def test_health_is_ignored_and_logged_below_the_panic_threshold(live: tuple[Node, Tree], web: Web) -> None:
    node, _ = live
    begin(node, web, "b1", "b2", "b3", panic_threshold=50)

    web.stop("b1")
    web.wait(node, b1=0, b2=10, b3=10)
    web.stop("b2")
    web.wait(node, b1=10, b2=10, b3=10)
    node.wait_for_log(r"^error: health: service web: 2 of 3 backends \(ipv4\) are down.*ignoring health")
    web.serve("b2")
    web.wait(node, b1=0, b2=10, b3=10)
    node.wait_for_log(r"^warning: health: service web: 1 of 3 backends \(ipv4\) are down: health applies again")

    assert web.operations(node, "b2") == web.operations(node, "b3") == []


def test_weight_at_a_gateway_is_the_sum_of_its_healthy_backends(live: tuple[Node, Tree], web: Web) -> None:
    node, tree = live
    tree.put("routes/far", {"Prefix": f"{web.address('b0')}/24", "Gateway": "10.9.0.1", "IPVSMethod": "masq"})
    web.serve("b1", "b2")
    web.put_check()
    web.put_frontend()
    web.put_backends("b1", "b2")
    gateway = f"-a {web.virtual} -r 10.9.0.1:80 -m -w"

    def wait_for(weight: int) -> None:
        node.wait_for_table([f"-A {web.virtual} -s wlc", f"{gateway} {weight}"])

    wait_for(20)
    web.stop("b1")
    wait_for(10)
    web.stop("b2")
    wait_for(0)
    web.serve("b1")
    wait_for(10)


def test_default_check_applies_to_services_without_one_of_their_own(live: tuple[Node, Tree]) -> None:
    node, tree = live
    with contextlib.ExitStack() as stack:
        one, two, unchecked = (
            stack.enter_context(Web(tree, name, n)) for n, name in enumerate(["one", "two", "none"], 1)
        )
        tree.put("health", QUICK)
        tree.put("services/none/health", {"type": "none"})
        for web in (one, two, unchecked):
            web.serve("b1")
            web.put_frontend()
            web.put_backends("b1", "b2")
        for web, weight in ((one, 0), (two, 0), (unchecked, 10)):
            web.wait(node, b1=10, b2=weight)
        one.wait_for_probes(node, 4)
        assert unchecked.operations(node, "b2") == [unchecked.operation("-a", "b2", 10)]
        assert unchecked.servers["b1"].accepted == 0

        tree.remove("services/none/health")
        unchecked.wait(node, b1=10, b2=0)
        # without a check, all backends have their weight
        tree.remove("health")
        for web in (one, two, unchecked):
            web.wait(node, b1=10, b2=10)


def test_servers_of_every_kind_get_the_right_weight(live: tuple[Node, Tree], tmp_path: Path) -> None:
    node, tree = live
    own = Authority.self_signed(tmp_path, "127.0.0.1")
    tls = {"type": "https", "tls": {"verify": False}}
    huge = servers.response(200, b"x" * 1_000_000 + b"needle")
    kinds: dict[str, tuple[Behaviour, dict[str, object], bool]] = {
        "old": (answer(204, b"", version="1.0"), {}, True),
        "expected": (answer(200, b"all is well"), {"expect": "is well"}, True),
        "for-host": (servers.only_for_host("web.example"), {"host": "web.example"}, True),
        "only-tcp": (servers.stay_silent, {"type": "tcp"}, True),
        "tls": (answer(200), tls, True),
        "six": (answer(200), {}, True),
        "error": (answer(503), {}, False),
        "unexpected": (answer(200, b"all is ill"), {"expect": "is well"}, False),
        "other-host": (servers.only_for_host("web.example"), {}, False),
        "self-signed": (answer(200), {"type": "https"}, False),
        "silent": (servers.stay_silent, {}, False),
        "slow": (servers.answer_slowly(b"HTTP/1.1 200 OK\r\n"), {}, False),
        "slow-body": (servers.answer_slowly(servers.response(200, b"x" * 9)[:-3]), {"expect": "x"}, False),
        "endless": (servers.headers_without_end, {}, False),
        "too-far": (servers.say(huge), {"expect": "needle"}, False),
        "reset": (servers.reset, {}, False),
        "hang-up": (servers.hang_up, {}, False),
        "garbage": (servers.say(b"\0\xff" * 1000), {}, False),
    }
    with contextlib.ExitStack() as stack:
        for number, (kind, (behaviour, check, _)) in enumerate(kinds.items(), 1):
            host = "::1" if kind == "six" else f"127.0.1.{number}"
            context = own if check.get("type") == "https" else None
            stack.enter_context(Server(behaviour, host=host, port=8080, tls=context))
            family = "ipv6" if kind == "six" else "ipv4"
            vip = "fd00:107::107" if kind == "six" else f"10.107.1.{number}"
            tree.put(f"services/{kind}/health", {**QUICK, "interval": 1.0, "timeout": 1.0, **check})
            tree.service(kind, {family: vip, "tcp": 80}, b={family: host, "tcp": 8080})
        for kind, (_, _, good) in kinds.items():
            node.wait_for_log(rf"{kind}/b: \S+ is {'up' if good else 'down'}")
        expected = {
            ("[::1]" if kind == "six" else f"127.0.1.{number}"): 10 if good else 0
            for number, (kind, (_, _, good)) in enumerate(kinds.items(), 1)
        }
        node.wait_for(lambda: weights_by_address() == expected)
        bad = [f"-r 127.0.1.{number}:" for number, (_, _, good) in enumerate(kinds.values(), 1) if not good]
        assert not [line for line in node.operations if any(b in line for b in bad) and not line.endswith("-w 0")]


def weights_by_address() -> dict[str, int]:
    reals = [line.split() for line in saved() if line.startswith("-a")]
    return {words[4].rpartition(":")[0]: int(words[7]) for words in reals}
