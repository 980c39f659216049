"""A small network with a clusterf-node as its director, for tests with real clients.

    client ── director ─┬─ b1
           (VIP, IPVS)  └─ b2

Each is a network namespace. The backends answer through the director, as
masquerading needs it. Servers and client are threads of the tests: a socket
belongs to the namespace in which its thread was when the socket was made, so a thread enters
it for that moment only, and a server is ready once it is made.
"""

import contextlib
import ctypes
import hashlib
import http.client
import os
import re
import socket
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import StreamRequestHandler, TCPServer, ThreadingMixIn
from typing import Self

from tests.system.support.node import Node, Tree, saved

__all__ = [
    "BACKENDS",
    "ECHO",
    "ECHO_BACKEND",
    "VIPS",
    "Client",
    "Conversation",
    "DataPlane",
    "Director",
    "Download",
    "WebServer",
    "content",
    "inside",
    "namespace",
]

CLONE_NEWNET = 0x40000000

VIPS = {"ipv4": "10.107.107.107", "ipv6": "fd00:107::107"}
BACKENDS = {
    "b1": {"ipv4": "10.3.1.2", "ipv6": "fd00:3:1::2"},
    "b2": {"ipv4": "10.3.2.2", "ipv6": "fd00:3:2::2"},
}
WEB, ECHO = 80, 7000  # the frontends' ports
WEB_BACKEND, ECHO_BACKEND = 8080, 7000
DOWNLOAD = "/download"
SIZE = 4_000_000  # bytes of a download, much more than sockets hold

libc = ctypes.CDLL(None, use_errno=True)


@contextlib.contextmanager
def inside(name: str) -> Iterator[None]:
    """Let this thread open sockets and start programs in a network namespace."""

    def enter(descriptor: int) -> None:
        if libc.setns(descriptor, CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), f"cannot enter {name}: {os.strerror(ctypes.get_errno())}")

    with Path("/proc/thread-self/ns/net").open() as home, Path("/run/netns", name).open() as there:
        enter(there.fileno())
        try:
            yield
        finally:
            enter(home.fileno())


def ip(commands: str, name: str | None = None) -> None:
    """Run lines of `ip` commands, in a namespace if one is named."""
    where = ["-netns", name] if name else []
    subprocess.run(["ip", *where, "-batch", "-"], input=commands, text=True, check=True)


def set_switches(name: str, switches: Mapping[str, int]) -> None:
    with inside(name):
        for switch, value in switches.items():
            Path("/proc/sys/net", switch).write_text(str(value))


@contextlib.contextmanager
def namespace(role: str) -> Iterator[str]:
    """Make a network namespace with lo up, and remove it at the end.

    Its addresses are usable at once, without the 2 s of IPv6 duplicate address detection.
    """
    name = f"clusterf-{os.getpid()}-{role}"
    ip(f"netns add {name}")
    try:
        ip("link set lo up", name)
        set_switches(name, {"ipv6/conf/all/accept_dad": 0, "ipv6/conf/default/accept_dad": 0})
        yield name
    finally:
        ip(f"netns del {name}")


def cable(director: str, end: str, interface: str, network: int) -> None:
    """Join a namespace to the director, which becomes its default route.

    Both families have the addresses x.1 (the director) and x.2 in one network.
    """
    ipv4, ipv6 = ("10.9.0", "fd00:9:") if network == 0 else (f"10.3.{network}", f"fd00:3:{network}:")
    ip(f"link add {interface} netns {director} type veth peer name up0 netns {end}")
    setup = "link set {0} up\naddr add {1}.{3}/24 dev {0}\naddr add {2}:{3}/64 dev {0} nodad\n"
    ip(setup.format(interface, ipv4, ipv6, 1), director)
    ip(setup.format("up0", ipv4, ipv6, 2), end)
    ip(f"route add default via {ipv4}.1\nroute add default via {ipv6}:1\n", end)


def make_router(director: str) -> None:
    ip(f"addr add {VIPS['ipv4']}/32 dev lo\naddr add {VIPS['ipv6']}/128 dev lo nodad\n", director)
    set_switches(director, {"ipv4/ip_forward": 1, "ipv6/conf/all/forwarding": 1})


@cache
def content(backend: str) -> bytes:
    """Return the content of a download from a backend."""
    return hashlib.shake_256(backend.encode()).digest(SIZE)


class Page(BaseHTTPRequestHandler):
    """Answers with the backend's name, or with its download, whose second half waits until it is resumed."""

    server: "Server"

    def do_GET(self) -> None:
        body = content(self.server.backend) if self.path == DOWNLOAD else self.server.backend.encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Backend", self.server.backend)
        self.end_headers()
        if self.path == DOWNLOAD:
            self.wfile.write(body[: SIZE // 2])
            self.server.resumed.wait()
            body = body[SIZE // 2 :]
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


class Echo(StreamRequestHandler):
    """Answers each line with the backend's name and that line."""

    server: "Server"

    def handle(self) -> None:
        for line in self.rfile:
            self.wfile.write(f"{self.server.backend} ".encode() + line)


class Server(ThreadingMixIn, TCPServer):
    """Serves both families on one port; listens once it is made, and until the `with` ends."""

    address_family = socket.AF_INET6
    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, backend: str, port: int, handler: type[StreamRequestHandler]) -> None:
        self.backend = backend
        # whether the second half of downloads is sent
        self.resumed = threading.Event()
        super().__init__(("::", port), handler)
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    def server_bind(self) -> None:
        self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()


class WebServer:
    """The web server of a backend in its namespace; it can be stopped and started."""

    def __init__(self, backend: str, end: str) -> None:
        self._backend = backend
        self._end = end
        self._running = contextlib.ExitStack()
        self._server: Server

    def start(self) -> None:
        """Serve from now on."""
        with inside(self._end):
            self._server = self._running.enter_context(Server(self._backend, WEB_BACKEND, Page))

    def stop(self) -> None:
        """Refuse connections from now on."""
        self._running.close()

    def resume(self) -> None:
        """Send the second half of downloads, running and future ones."""
        self._server.resumed.set()

    def pause(self) -> None:
        """Hold downloads after their first half."""
        self._server.resumed.clear()


class Download:
    """A running download, of which a quarter was read."""

    def __init__(self, connection: http.client.HTTPConnection) -> None:
        self._connection = connection
        connection.request("GET", DOWNLOAD)
        self._response = connection.getresponse()
        self.backend = self._response.headers["Backend"]
        self._begun = self._response.read(SIZE // 4)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Abort it."""
        self._response.close()
        self._connection.close()

    def finish(self) -> bytes:
        """Return the whole content."""
        return self._begun + self._response.read()


class Conversation:
    """An established connection to the echo service."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._answers = connection.makefile("r")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._answers.close()
        self._connection.close()

    def say(self, word: str) -> str:
        """Send a line and return the name of the backend that has answered it."""
        self._connection.sendall(f"{word}\n".encode())
        backend, echoed = self._answers.readline().split()
        assert echoed == word
        return backend


@dataclass(frozen=True)
class Client:
    """A client in a namespace."""

    namespace: str
    timeout: float = 5.0

    def get(self, address: str, path: str = "/") -> str:
        """Make one HTTP request on a connection of its own; return the name of the backend that has answered."""
        with contextlib.closing(self._connect(address)) as connection:
            connection.request("GET", path)
            return connection.getresponse().read().decode()

    def download(self, address: str) -> Download:
        """Begin a download."""
        return Download(self._connect(address))

    @contextlib.contextmanager
    def visits(self, *addresses: str) -> Iterator[Sequence[str]]:
        """Make one request after the other meanwhile, each on a connection of its own; collect the answering backends.

        Raises the error of a failed request at the end.
        """
        answered: list[str] = []
        enough = threading.Event()

        def visit() -> None:
            while not enough.is_set():
                answered.extend(self.get(address) for address in addresses)

        with ThreadPoolExecutor(1) as pool:
            visiting = pool.submit(visit)
            try:
                yield answered
            finally:
                enough.set()
                visiting.result()

    def _connect(self, address: str) -> http.client.HTTPConnection:
        connection = http.client.HTTPConnection(address, WEB, timeout=self.timeout)
        with inside(self.namespace):
            connection.connect()
        return connection

    def backends(self, address: str, requests: int = 8) -> set[str]:
        """Return the names of the backends that answer that many requests."""
        return {self.get(address) for _ in range(requests)}

    def talk(self, address: str, port: int = ECHO) -> Conversation:
        """Open a connection to the echo service, or to another one of its kind."""
        with inside(self.namespace):
            return Conversation(socket.create_connection((address, port), timeout=self.timeout))


class Director(Node):
    """A clusterf-node with the role ipvs, in a namespace that has a name."""

    def __init__(self, name: str, tree: Tree, folder: Path, flags: Sequence[str] = ()) -> None:
        super().__init__(folder, tree, flags=flags)
        self.namespace = name

    def start(self, *flags: str) -> None:
        with inside(self.namespace):
            super().start(*flags)

    def table(self) -> list[str]:
        """Return the kernel's table, sorted bytewise."""
        with inside(self.namespace):
            return saved()

    def weights(self, backend: str) -> list[int]:
        """Return the backend's weight in each virtual server that it is in."""
        addresses = BACKENDS[backend].values()
        found = (re.search(r" -r \[?(\S+?)\]?:\d+ -m -w (\d+)", line) for line in self.table())
        return [int(match[2]) for match in found if match and match[1] in addresses]

    def wait_for_weight(self, backend: str, weight: int) -> None:
        """Wait until the backend has this weight in both services and both families."""
        self.wait_for(lambda: self.weights(backend) == [weight] * 4)


@dataclass(frozen=True)
class DataPlane:
    """The whole network with its servers and the node."""

    client: Client
    director: Director
    tree: Tree
    web_servers: Mapping[str, WebServer]

    @classmethod
    @contextlib.contextmanager
    def build(cls, folder: Path, flags: Sequence[str] = ()) -> Iterator[Self]:
        """Make the network, and start the servers and the node."""
        with contextlib.ExitStack() as stack:
            client, director, *ends = (
                stack.enter_context(namespace(role)) for role in ("client", "director", *BACKENDS)
            )
            cable(director, client, "client", 0)
            make_router(director)
            web_servers = {backend: WebServer(backend, end) for backend, end in zip(BACKENDS, ends, strict=True)}
            for network, (backend, end) in enumerate(zip(BACKENDS, ends, strict=True), start=1):
                cable(director, end, backend, network)
                web_servers[backend].start()
                stack.callback(web_servers[backend].stop)
                with inside(end):
                    stack.enter_context(Server(backend, ECHO_BACKEND, Echo))
            tree = Tree(folder / "tree")
            tree.put("services/web/frontend", {**VIPS, "tcp": WEB, "scheduler": "rr"})
            tree.put("services/echo/frontend", {**VIPS, "tcp": ECHO, "scheduler": "rr"})
            plane = cls(Client(client), Director(director, tree, folder, flags), tree, web_servers)
            plane.write_weights(dict.fromkeys(BACKENDS, 10))
            stack.enter_context(plane.director)
            yield plane

    def write_weights(self, weights: Mapping[str, int]) -> None:
        """Write the backends' files."""
        for backend, weight in weights.items():
            for service, port in (("web", WEB_BACKEND), ("echo", ECHO_BACKEND)):
                value = {**BACKENDS[backend], "tcp": port, "weight": weight}
                self.tree.put(f"services/{service}/backends/{backend}", value)

    def set_weights(self, **weights: int) -> None:
        """Write the backends' files, and wait until the kernel has the weights."""
        self.write_weights(weights)
        for backend, weight in weights.items():
            self.director.wait_for_weight(backend, weight)
