"""A checked service of real HTTP servers on loopback addresses, and what a node makes of it."""

import contextlib
import itertools
import re
from collections.abc import Iterable
from typing import Any, Self

from tests.servers import Behaviour, Server, answer
from tests.system.support.node import Node, Tree, saved
from tests.waiting import wait_until

__all__ = ["QUICK", "Web", "mark"]

QUICK = {"type": "http", "interval": 0.4, "fast_interval": 0.1, "timeout": 0.4}
"""A check that finds out soon, also in the lab's kernel; `rise` and `fall` are the defaults, 2 and 3."""

_PATIENCE = 30.0
_MARKS = itertools.count(1)


class Web:
    """The service `name`; its VIP is 10.107.0.NUMBER:80, its backends b1, b2 … are at 127.NUMBER.0.1 and so on.

    Its servers run until the `with` ends, or they are stopped. A backend
    without one refuses.
    """

    def __init__(self, tree: Tree, name: str = "web", number: int = 1, port: int = 8080) -> None:
        self.name = name
        self.vip = f"10.107.0.{number}"
        self.virtual = f"-t {self.vip}:80"
        self.servers: dict[str, Server] = {}
        self._tree = tree
        self._number = number
        self.port = port
        self._stacks: dict[str, contextlib.ExitStack] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for name in list(self.servers):
            self.stop(name)

    def address(self, backend: str) -> str:
        """Return a backend's address."""
        return f"127.{self._number}.0.{backend.removeprefix('b')}"

    def put_frontend(self, **fields: Any) -> None:
        """Write the frontend."""
        self._tree.put(f"services/{self.name}/frontend", {"ipv4": self.vip, "tcp": 80, **fields})

    def put_check(self, **fields: Any) -> None:
        """Write the health check: a quick one, but for the fields."""
        self._tree.put(f"services/{self.name}/health", {**QUICK, **fields})

    def put_backends(self, *backends: str, **fields: Any) -> None:
        """Write the files of backends."""
        for backend in backends:
            value = {"ipv4": self.address(backend), "tcp": self.port, **fields}
            self._tree.put(f"services/{self.name}/backends/{backend}", value)

    def serve(self, *backends: str, behaviour: Behaviour | None = None, port: int | None = None) -> None:
        """Start servers, which answer 200 unless told."""
        for backend in backends:
            stack = self._stacks[backend] = contextlib.ExitStack()
            server = Server(behaviour or answer(200), host=self.address(backend), port=port or self.port)
            self.servers[backend] = stack.enter_context(server)

    def stop(self, *backends: str) -> None:
        """Stop servers; from then on connections are refused."""
        for backend in backends:
            del self.servers[backend]
            self._stacks.pop(backend).close()

    def operation(self, command: str, backend: str, weight: int | None = None) -> str:
        """Return the operation on a backend's real server; with `-d` there is no weight."""
        line = f"ipvsadm {command} {self.virtual} -r {self.address(backend)}:{self.port}"
        return line if weight is None else f"{line} -m -w {weight}"

    def operations(self, node: Node, backend: str) -> list[str]:
        """Return the operations on a backend's real server that the node has logged."""
        return [line for line in node.operations if line.startswith(self._words(line, backend))]

    def weights(self, lines: Iterable[str] | None = None) -> dict[str, int]:
        """Return the weight of each backend that is in a table, which is the kernel's unless given."""
        pattern = rf"-a {re.escape(self.virtual)} -r 127\.{self._number}\.0\.(\d+):\d+ -m -w (\d+)$"
        found = (re.match(pattern, line) for line in (saved() if lines is None else lines))
        return {f"b{match[1]}": int(match[2]) for match in found if match}

    def wait(self, node: Node, **weights: int) -> None:
        """Wait until the node prints just these backends, with these weights; the kernel must have them so then."""
        self.wait_for_shadow(node, **weights)
        with node.explained():
            assert self.weights() == weights

    def wait_for_shadow(self, node: Node, **weights: int) -> None:
        """Wait until the node prints just these backends, with these weights, whatever the kernel has."""
        node.wait_for(lambda: node.tables and self.weights(node.tables[-1]) == weights)

    def wait_for_probes(self, node: Node, count: int, *backends: str) -> None:
        """Wait until that many more requests have come to each of the servers, or to each of these."""
        servers = [self.servers[backend] for backend in backends] or list(self.servers.values())
        with node.explained():
            before = [len(server.requests) for server in servers]
            wait_until(
                lambda: all(len(s.requests) >= n + count for s, n in zip(servers, before, strict=True)), _PATIENCE
            )

    def _words(self, line: str, backend: str) -> str:
        return " ".join([*line.split()[:2], self.virtual, f"-r {self.address(backend)}:"])


def mark(node: Node, tree: Tree) -> str:
    """Change the configuration elsewhere, wait until it shows, and return the operation that it took."""
    number = next(_MARKS)
    vip = f"10.107.9.{number}"
    tree.put(f"services/mark{number}/frontend", {"ipv4": vip, "tcp": 80})
    line = f"-A -t {vip}:80 -s wlc"
    node.wait_for(lambda: node.tables and line in node.tables[-1])
    return f"ipvsadm {line}"
