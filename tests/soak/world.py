"""The world of a soak: etcd, servers, clients, an observer, a node, and what is configured and healthy in it.

It is made in the network namespace of the thread that makes it, as root, in a
kernel of its own: it mounts a small disk for the node's state, and may set the clock.
"""

import contextlib
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Self

import msgspec

from clusterf.etcd.client import Client
from clusterf.etcd.errors import EtcdError
from clusterf.etcd.transactions import OPERATIONS
from clusterf.ipvs.netlink.client import open_kernel
from tests.lab.etcd import EtcdCluster
from tests.soak import observer, plan, servers, traffic
from tests.soak.history import History, Recorder
from tests.soak.node import Node, director
from tests.soak.publisher import Publisher
from tests.soak.servers import HEALTHY
from tests.soak.tree_faults import Tree

__all__ = ["PREFIX", "World"]

PREFIX = "clusterf"
DISK = "12m"  # size of the disk that has the state directory
MODULE = [sys.executable, "-m"]


class World:
    """Everything around the node, and the node; ends with the `with`."""

    def __init__(self, folder: Path, seed: int, rate: float) -> None:
        self.folder = folder
        self.disk = folder / "disk"
        self.recorder = Recorder(seed)
        # what the operator has written, and how each backend is, by address
        self.objects: plan.Objects = {}
        self.modes: dict[str, str] = {}
        # virtual servers of others, as the rule that made each, by its name
        self.foreign: dict[str, str] = {}
        self.tree = Tree(folder, self.configured)
        # held by whoever changes what etcd has, or etcd itself
        self.etcd_lock = threading.RLock()
        self.etcd: EtcdCluster
        self.node: Node
        self.publisher: Publisher
        self._rate = rate
        self._orders = threading.Lock()
        self._configuring = threading.Lock()
        self._servers: subprocess.Popen[bytes]
        self._watchers: list[subprocess.Popen[bytes]] = []
        self._client: Client | None = None
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            self._make_network()
            self.disk.mkdir(parents=True)
            subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK}", "none", self.disk], check=True)
            stack.callback(lambda: subprocess.run(["umount", "-l", self.disk], check=True))
            self._start_servers(stack)
            self.etcd = stack.enter_context(EtcdCluster(self.folder / "etcd"))
            self.publisher = stack.enter_context(Publisher(self.etcd))
            stack.callback(self._disconnect)
            self.tree.make()
            self.write(plan.everything(), "the first configuration")
            self.kernel = open_kernel()
            stack.callback(self.kernel.close)
            self._watch("observer", stack)
            urls = [self.etcd.url(PREFIX), self.tree.url]
            self.node = stack.enter_context(
                Node(self.recorder, director(urls), self.disk / "state", self.folder / "run")
            )
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def start_traffic(self) -> None:
        """Send requests from now on."""
        self._watch("traffic", self._stack, str(self._rate), *map(plan.vip, plan.ALL))

    def finish(self) -> History:
        """End traffic and observer, and return all that was recorded."""
        for process in reversed(self._watchers):
            process.send_signal(signal.SIGTERM)
            process.wait()
        seen, answered = traffic.read(self.folder / "traffic")
        seen += servers.read(self.folder / "servers")
        return self.recorder.finish([*observer.read(self.folder / "observer"), *seen], answered)

    @contextlib.contextmanager
    def client(self) -> Iterator[Client]:
        """Return a client of etcd that is used by one at a time; an EtcdError drops it."""
        with self.etcd_lock:
            if self._client is None:
                self._client = Client(self.etcd.location(PREFIX), self.etcd.endpoints[0], 2.0)
            try:
                yield self._client
            except EtcdError:
                self._disconnect()
                raise

    def _disconnect(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None

    def write(self, objects: plan.Objects, text: str) -> None:
        """Have etcd hold these objects, in as few transactions as possible, and record that."""
        with self.etcd_lock:
            begin = time.monotonic()
            before, self.objects = self.objects, objects
            self.put(
                {path: value for path, value in objects.items() if value is not before.get(path)},
                before.keys() - objects.keys(),
            )
            self.configured(begin, text)

    def configured(self, begin: float, text: str) -> None:
        """Record what is configured now, by a change begun at `begin`."""
        with self._configuring:
            self.recorder.configured(plan.configuration(self.whole, begin, time.monotonic(), text))

    @property
    def whole(self) -> plan.Objects:
        """All that is configured."""
        return {**self.objects, **self.publisher.objects, **self.tree.objects}

    def put(self, puts: Mapping[str, object], deletes: Collection[str] = ()) -> None:
        """Set and delete keys; retries until etcd does it."""
        writes = [(path.encode(), _raw(value)) for path, value in puts.items()]
        gone = [path.encode() for path in deletes]
        while writes or gone:
            now, then = writes[:OPERATIONS], gone[: max(0, OPERATIONS - len(writes))]
            try:
                with self.client() as client:
                    client.transact(now, then)
            except EtcdError:
                time.sleep(0.1)
                continue
            writes, gone = writes[len(now) :], gone[len(then) :]

    def order(self, address: str, mode: str) -> None:
        """Have a backend behave so from now on, and record that."""
        with self._orders:
            self.recorder.act("health", address, mode, lambda: self._order(address, mode, plan.PORTS))
            self.modes[address] = mode

    def _order(self, address: str, mode: str, ports: tuple[int, ...]) -> None:
        assert self._servers.stdin is not None
        assert self._servers.stdout is not None
        self._servers.stdin.write(f"{mode} {address} {' '.join(map(str, ports))}\n".encode())
        self._servers.stdin.flush()
        assert self._servers.stdout.readline() == b"\n", "the servers have ended"

    def _start_servers(self, stack: contextlib.ExitStack) -> None:
        command = [*MODULE, "tests.soak.servers", str(self.folder / "servers")]
        running = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._servers = stack.enter_context(running)
        for number in plan.ALL:
            for backend in plan.BACKENDS:
                self._order(plan.address(number, backend), HEALTHY, plan.PORTS)
                self.modes[plan.address(number, backend)] = HEALTHY
        for gateway in plan.GATEWAYS:
            self._order(gateway, HEALTHY, (80,))

    def _watch(self, name: str, stack: contextlib.ExitStack, *arguments: str) -> None:
        """Start a process that writes what it sees to the file of its name."""
        out = self.folder / name
        process = stack.enter_context(subprocess.Popen([*MODULE, f"tests.soak.{name}", out, *arguments]))
        stack.callback(process.kill)
        self._watchers.append(process)

    def _make_network(self) -> None:
        addresses = [plan.address(number, backend) for number in plan.ALL for backend in plan.BACKENDS]
        addresses += [*plan.GATEWAYS, *map(plan.vip, plan.ALL)]
        commands = "".join(f"addr add {address}/32 dev lo\n" for address in addresses)
        subprocess.run(["ip", "-batch", "-"], input=commands, text=True, check=True)


def _raw(value: object) -> bytes:
    return value if isinstance(value, bytes) else msgspec.json.encode(value)
