"""A configuration in a real etcd, the table that it results in, and a node with `--noop` that follows it."""

import json
import shlex
import signal
from collections.abc import Iterable, Sequence
from itertools import count
from pathlib import Path

from clusterf.etcd.client import Client
from clusterf.etcd.errors import EtcdError
from clusterf.etcd.transactions import OPERATIONS
from tests.lab.etcd import EtcdCluster, Member
from tests.system.support.node import Node
from tests.waiting import wait_until

__all__ = [
    "SERVICES",
    "UNREACHABLE",
    "Config",
    "EtcdNode",
    "compact",
    "deleted_backend",
    "deleted_service",
    "etcd_node",
    "replay",
]

SERVICES = [(service, backend, 10) for service in range(1, 4) for backend in range(1, 6)]  # service, backend, weight
UNREACHABLE = "keeping the current state"

_PREFIXES = (f"clusterf/{number}" for number in count())


class Config:
    """Services below a prefix of their own, and the table that they result in.

    Service 1 is at 10.107.0.1:80; its backend 2 is 10.1.0.2:80, whose weight is given.
    """

    def __init__(self, cluster: EtcdCluster, prefix: str | None = None) -> None:
        self.cluster = cluster
        self.prefix = prefix or next(_PREFIXES)
        self.services: dict[int, dict[int, int]] = {}

    def change(self, *changes: tuple[int, int, int | None], through: int | None = None) -> None:
        """Set the weights of backends, None to delete them, through any running member or the one with that number."""
        puts, deletes = {}, []
        for service, backend, weight in changes:
            backends = self.services.setdefault(service, {})
            if weight is None:
                del backends[backend]
                deletes.append(f"services/s{service}/backends/b{backend}")
            else:
                backends[backend] = weight
                puts[f"services/s{service}/frontend"] = {"ipv4": f"10.107.0.{service}", "tcp": 80}
                address = f"10.{service}.{backend >> 8}.{backend & 255}"
                puts[f"services/s{service}/backends/b{backend}"] = {"ipv4": address, "tcp": 80, "weight": weight}
        self._transact([(key.encode(), json.dumps(value).encode()) for key, value in puts.items()], deletes, through)

    def drop(self, *services: int) -> None:
        """Delete services with their backends."""
        keys = []
        for service in services:
            keys.append(f"services/s{service}/frontend")
            keys += [f"services/s{service}/backends/b{backend}" for backend in self.services.pop(service)]
        self._transact([], keys, None)

    def put(self, key: bytes, value: bytes) -> None:
        """Set any key."""
        self._transact([(key, value)], [], None)

    @property
    def table(self) -> list[str]:
        """The table that the kernel is to have."""
        lines = []
        for service, backends in self.services.items():
            lines.append(f"-A -t 10.107.0.{service}:80 -s wlc")
            for backend, weight in backends.items():
                address = f"10.{service}.{backend >> 8}.{backend & 255}"
                lines.append(f"-a -t 10.107.0.{service}:80 -r {address}:80 -m -w {weight}")
        return sorted(lines)

    def _transact(self, puts: list[tuple[bytes, bytes]], deletes: Sequence[str], through: int | None) -> None:
        steps: list[tuple[list[tuple[bytes, bytes]], list[bytes]]] = [
            (puts[n : n + OPERATIONS], []) for n in range(0, len(puts), OPERATIONS)
        ]
        names = [key.encode() for key in deletes]
        steps += [([], names[n : n + OPERATIONS]) for n in range(0, len(names), OPERATIONS)]
        members = self.cluster.members if through is None else [self.cluster.members[through]]
        wait_until(lambda: self._write(members, steps), 20)

    def _write(self, members: Iterable[Member], steps: Iterable[tuple[list[tuple[bytes, bytes]], list[bytes]]]) -> bool:
        """Execute all steps, which may be repeated; return whether that succeeded, as there may be no leader now."""
        alive = next(member for member in members if member.process is not None)
        try:
            # a proposal that is lost with its leader is answered by no one
            with Client(self.cluster.location(self.prefix), alive.endpoint, deadline=2) as client:
                for puts, deletes in steps:
                    client.transact(puts, deletes)
        except EtcdError:
            return False
        return True


def replay(operations: Iterable[str]) -> list[str]:
    """Return the table that the operations turn an empty one into."""
    table: dict[tuple[str, ...], str] = {}
    for operation in operations:
        _, command, *words = shlex.split(operation)
        virtual = tuple(words[:2])
        key = (*virtual, words[3]) if command in {"-a", "-e", "-d"} else virtual
        if command == "-D":
            table = {k: line for k, line in table.items() if k[:2] != virtual}
        elif command == "-d":
            del table[key]
        else:
            assert (key in table) == (command in {"-E", "-e"}), operation
            table[key] = " ".join([command.replace("E", "A").replace("e", "a"), *words])
    return sorted(table.values())


class EtcdNode(Node):
    """A node with `--noop`, whose shadow table begins empty."""

    @property
    def deletions(self) -> list[str]:
        """The operations that deleted something."""
        return [operation for operation in self.operations if operation.split()[1] in {"-d", "-D", "-C"}]

    def reload(self) -> None:
        """Have it reload."""
        self.send(signal.SIGHUP)

    def pause(self) -> None:
        """Stop the process that follows etcd."""
        self.kill("config", number=signal.SIGSTOP)

    def resume(self) -> None:
        """Continue it."""
        self.kill("config", number=signal.SIGCONT)

    def wait_for_shadow(self, table: Sequence[str]) -> None:
        """Wait until it prints that table, which must be the result of its operations."""
        with self.explained():
            wait_until(lambda: self._running() and self.tables[-1:] == [list(table)], 30)
            assert replay(self.operations) == list(table)


def etcd_node(folder: Path, *urls: str, flags: Sequence[str] = ()) -> EtcdNode:
    """Return a node for these sources."""
    folder.mkdir(parents=True, exist_ok=True)
    sources = [word for url in urls for word in ("--config-source", url)]
    return EtcdNode(folder, flags=["--noop", "--removal-hold", "0", *sources, *flags])


def deleted_backend(service: int, backend: int) -> str:
    """Return the operation that deletes the real server of a backend."""
    return f"ipvsadm -d -t 10.107.0.{service}:80 -r 10.{service}.0.{backend}:80"


def deleted_service(service: int) -> str:
    """Return the operation that deletes the virtual server of a service."""
    return f"ipvsadm -D -t 10.107.0.{service}:80"


def compact(config: Config) -> None:
    """Compact etcd up to its present revision."""
    with Client(config.cluster.location(config.prefix), config.cluster.endpoints[0]) as client:
        config.cluster.compact(client.list().revision)
