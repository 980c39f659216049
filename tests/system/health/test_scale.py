"""Health checks of many backends, by several processes, and from etcd; a real node with a shadow of the kernel."""

import json
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.lab.etcd import EtcdCluster
from tests.servers import answer
from tests.system.support.etcd_config import etcd_node
from tests.system.support.node import Node, Tree
from tests.system.support.web import QUICK, Web
from tests.waiting import wait_until

SERVICES, BACKENDS = 10, 1000
MANY = SERVICES * BACKENDS
MEMORY = 160_000  # kB, limit of the peak memory of a health process with so many targets
pytestmark = pytest.mark.timeout(600)  # the first test has the time that its node takes, too
PATIENCE = 300.0  # seconds; an idle machine takes a tenth of them, and CI has two guests at the same time


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


class Anywhere:
    """A server on one port of all loopback addresses."""

    def __init__(self) -> None:
        self.port = free_port()
        self.start()

    def start(self) -> None:
        self._listener = socket.socket()
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"lo")
        self._listener.bind(("0.0.0.0", self.port))  # limited to that device
        self._listener.listen(4096)

    def stop(self) -> None:
        self._listener.close()


class QuietNode(Node):
    """A node that does not print its table, which is large."""

    def __init__(self, folder: Path, tree: Tree) -> None:
        super().__init__(folder, tree, flags=["--noop", "--stuck-timeout", "600"])
        self._command.remove("--print")

    def count(self, words: str) -> int:
        """Return the number of times that `words` are in the log."""
        return self.log.count(words)


class Large(NamedTuple):
    node: QuietNode
    tree: Tree
    anywhere: Anywhere
    web: Web

    def put_backends(self, weight: int) -> None:
        for number in range(MANY):
            address = f"127.{100 + number // 10000}.{number // 100 % 100}.{number % 100 + 1}"
            value = {"ipv4": address, "tcp": self.anywhere.port, "weight": weight}
            self.tree.put(f"services/s{number % SERVICES}/backends/b{number}", value)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Large]:
    """A node with many targets that only listen, and one service with a full server."""
    folder = tmp_path_factory.mktemp("large")
    tree, anywhere = Tree(folder / "tree"), Anywhere()
    tree.clear()
    tree.put("health", {"interval": 3, "fast_interval": 0.5, "fall": 2, "rise": 1})
    for number in range(SERVICES):
        tree.put(f"services/s{number}/frontend", {"ipv4": f"10.107.1.{number}", "tcp": 80})
    with Web(tree, port=anywhere.port + 1) as web, QuietNode(folder, tree) as node:
        large = Large(node, tree, anywhere, web)
        web.serve("b1")
        web.put_check()
        web.put_frontend()
        web.put_backends("b1")
        large.put_backends(10)
        wait_until(lambda: node.count(" -m -w 10\n") > MANY, PATIENCE)
        yield large
    anywhere.stop()


def test_ten_thousand_targets_come_up_and_go_down_in_bounded_memory(large: Large) -> None:
    node = large.node
    wait_until(lambda: node.count(" is up (1 success, ") == MANY + 1, PATIENCE)
    node.forget()

    large.anywhere.stop()
    wait_until(lambda: node.count(" -m -w 0\n") == MANY, PATIENCE)
    assert node.count("is down: refused (2 failures in a row") == MANY
    assert large.web.operations(node, "b1") == []
    node.forget()

    large.anywhere.start()
    wait_until(lambda: node.count(" -m -w 10\n") == MANY, PATIENCE)
    assert peak_memory(node.children()["health"]) < MEMORY


def peak_memory(pid: int) -> int:
    """Return the peak memory of a process, in kB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmHWM:")))


def test_verdict_overtakes_thousands_of_configuration_changes(large: Large) -> None:
    node, web = large.node, large.web
    node.forget()

    # the director is stopped until all changes and the verdict are waiting for it
    node.kill("director", number=signal.SIGSTOP)
    large.put_backends(11)
    web.servers["b1"].behaviour = answer(500)
    node.wait_for_log(r"web/b1: \S+ is down")
    node.kill("director", number=signal.SIGCONT)

    wait_until(lambda: node.count(" -m -w 11\n") == MANY, PATIENCE)
    assert node.operations.index(web.operation("-e", "b1", 0)) < MANY / 4
    assert len(node.operations) == MANY + 1
    node.forget()

    # also when the changes are at the writer already: droute changes every real server
    large.tree.put("routes/all", {"Prefix": "127.100.0.0/16", "IPVSMethod": "droute"})
    wait_until(lambda: node.count(" -g -w 11\n"), PATIENCE)
    node.kill("director", number=signal.SIGSTOP)
    written = len(node.operations)
    assert written < MANY / 2
    web.servers["b1"].behaviour = answer(200)
    node.wait_for_log(r"web/b1: \S+ is up")
    node.kill("director", number=signal.SIGCONT)

    wait_until(lambda: len(node.operations) == 2 * MANY + 1, PATIENCE)
    # without overtaking, all that is added would come first, and what is deleted, too
    assert node.operations.index(web.operation("-e", "b1", 10)) < MANY


def probed(web: Web, counts: dict[str, int]) -> set[str]:
    """Return the backends that were probed more than once since `counts`."""
    return {backend for backend, server in web.servers.items() if len(server.requests) > counts[backend] + 1}


def counts(web: Web) -> dict[str, int]:
    return {backend: len(server.requests) for backend, server in web.servers.items()}


def test_each_target_is_probed_by_one_of_several_processes(tmp_path: Path) -> None:
    tree, names = Tree(tmp_path / "tree"), [f"b{number}" for number in range(1, 13)]
    processes = ["health1", "health2", "health3"]
    shards: list[set[str]] = []
    weights = {name: 10 for name in names if name != "b1"}
    node = Node(tmp_path, tree, flags=["--noop", "--health-processes", "3"])
    with Web(tree, port=free_port()) as web:
        web.serve(*names)
        web.servers["b1"].behaviour = answer(500)
        web.put_check(interval=0.2, timeout=0.2)
        web.put_frontend()
        web.put_backends(*names)
        with node:
            web.wait_for_shadow(node, b1=0, **weights)
            node.wait_for_log("web/b1: .* is down")
            node.forget()
            for process in processes:
                others = set().union(*shards)
                shards.append(paused(node, web, process, others))
            assert sorted(name for shard in shards for name in shard) == sorted(names)
            assert node.operations == []

            # targets of the other processes are probed while one is stopped
            node.kill(processes[0], number=signal.SIGSTOP)
            (one, *_), (two, *_) = shards[0] - {"b1"}, shards[1] - {"b1"}
            web.stop(one, two)
            web.wait_for_shadow(node, **{**weights, "b1": 0, two: 0})
            node.kill(processes[0])
            web.wait_for_shadow(node, **{**weights, "b1": 0, one: 0, two: 0})
            assert node.operations == [web.operation("-e", two, 0), web.operation("-e", one, 0)]


def paused(node: Node, web: Web, process: str, known: set[str]) -> set[str]:
    """Stop and continue a health process; return its backends, and assert that there is no burst afterwards.

    The `known` backends are those of other processes, and are probed throughout.
    """
    node.kill(process, number=signal.SIGSTOP)
    before = counts(web)
    node.wait_for(lambda: _settled(web, before, known))
    silent = web.servers.keys() - probed(web, before)
    before = counts(web)
    reference = min(web.servers.keys() - silent)
    node.kill(process, number=signal.SIGCONT)
    web.wait_for_probes(node, 6, reference)
    # one probe that was due, and then one an interval
    after = counts(web)
    bound = after[reference] - before[reference] + 4
    with node.explained():
        assert all(after[name] - before[name] <= bound for name in silent), (before, after)
    return silent


def _settled(web: Web, before: dict[str, int], known: set[str]) -> bool:
    """Tell whether the active backends were probed so often that the others would have been probed too."""
    active = probed(web, before)
    return bool(active) and known <= active and all(len(web.servers[b].requests) >= before[b] + 5 for b in active)


def test_checks_are_read_from_etcd(tmp_path: Path) -> None:
    with EtcdCluster(tmp_path / "etcd") as etcd, Web(Tree(tmp_path), port=free_port()) as web:

        def put(key: str, **value: Any) -> None:
            etcd.ctl("put", f"/clusterf/{key}", json.dumps(value))

        web.serve("b1", "b3")
        put("health", **QUICK)
        put("services/web/frontend", ipv4=web.vip, tcp=80)
        for backend in ("b1", "b2"):
            put(f"services/web/backends/{backend}", ipv4=web.address(backend), tcp=web.port)
        with etcd_node(tmp_path / "node", etcd.url(), flags=["--health-allow", "127.0.0.0/8"]) as node:
            web.wait_for_shadow(node, b1=10, b2=0)
            put("services/web/backends/b3", ipv4=web.address("b3"), tcp=web.port)
            web.wait_for_shadow(node, b1=10, b2=0, b3=10)

            # probing goes on without etcd
            etcd.kill()
            node.wait_for_log("keeping the current state")
            web.stop("b3")
            web.wait_for_shadow(node, b1=10, b2=0, b3=0)
            etcd.start()
            put("services/web/health", type="none")
            web.wait_for_shadow(node, b1=10, b2=10, b3=10)
