"""Whole programs that write a table, each in a network namespace of its own: ipvsadm, keepalived, a node."""

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from clusterf.ipvs.netlink.client import open_kernel
from tests.bench import keepalived, nodes
from tests.bench.ipvs_tables import real_server, settings, virtual_server
from tests.bench.ipvs_tables import table as table_of_shape
from tests.bench.nodes import Memory
from tests.bench.starts import Start, once
from tests.bench.trees import Shape
from tests.waiting import wait_until

__all__ = ["NodeChanges", "Reloads", "change_node", "restore", "start_keepalived", "start_node"]

WARM_UP = 5  # changes that are not measured, of which the first waits for the start
PATIENCE = 300.0  # seconds until keepalived has written everything
_A_MOMENT = 10.0  # seconds until the kernel has what a program has logged
_FIRST_WEIGHT = 20


class NodeChanges(msgspec.Struct, frozen=True):
    """Weights changed one after the other, with a node. Times are in seconds."""

    latencies: list[float]  # from before the file is replaced until the kernel has it
    memory: dict[str, Memory]  # afterwards


class Reloads(msgspec.Struct, frozen=True):
    """The results of keepalived. Times are in seconds."""

    start: float  # from exec to the whole table
    latencies: list[float]  # from each SIGHUP, with one weight changed, until the kernel has it


def restore(shape: Shape, directory: Path) -> float:
    """Return how long `ipvsadm -R` takes, from exec to exit."""
    path = directory / "table"
    path.write_text("".join(f"{line}\n" for line in shape.table()))
    with path.open() as table:
        began = time.perf_counter()
        subprocess.run(["ipvsadm", "-R"], stdin=table, check=True)
        took = time.perf_counter() - began
    _check(shape)
    return took


def start_keepalived(shape: Shape, directory: Path, reloads: int) -> Reloads:
    """Start keepalived, and reload it `reloads` times."""
    keepalived.configure(directory, keepalived.of_shape(shape, {}))
    last = shape.services - 1, shape.backends - 1
    with _kernel() as kernel:
        began = time.perf_counter()
        with keepalived.running(directory) as program:
            # it adds virtual servers in order; reading the last one is short while it is missing
            wait_until(lambda: kernel.has(*last), PATIENCE)
            took = time.perf_counter() - began
            kernel.check(shape)
            program.wait_for("Startup complete")
            return Reloads(took, [_reload(shape, directory, program, kernel, n) for n in range(reloads)])


def _reload(shape: Shape, directory: Path, program: keepalived.Keepalived, kernel: "_Kernel", number: int) -> float:
    place, weight = _place(shape, 0), _FIRST_WEIGHT + number
    keepalived.configure(directory, keepalived.of_shape(shape, {place: weight}))
    began = time.perf_counter()
    program.reload()
    # so that nothing reads the kernel before
    program.wait_for("Changing weight from ")
    took = kernel.wait_for(*place, weight) - began
    program.wait_for("Reload complete")
    return took


def start_node(shape: Shape, tree: Path, directory: Path) -> tuple[Start, Start]:
    """Run a node with `--once`, and again, with nothing left to do."""
    fresh = once(tree.as_uri(), directory)
    _check(shape)
    return fresh, once(tree.as_uri(), directory)


def change_node(shape: Shape, tree: Path, directory: Path, changes: int) -> NodeChanges:
    """Run a node whose table is correct, and change `count` of its files, one after the other."""
    with nodes.running(nodes.command(tree.as_uri(), directory)) as node, _kernel() as kernel:
        latencies = [_change(shape, tree, node, kernel, number) for number in range(WARM_UP + changes)]
        return NodeChanges(latencies[WARM_UP:], node.memory())


def _change(shape: Shape, tree: Path, node: nodes.Node, kernel: "_Kernel", number: int) -> float:
    place, weight = _place(shape, number), _FIRST_WEIGHT + number
    began = time.perf_counter()
    node.log.wait_for(shape.change(tree, *place, weight))
    return kernel.wait_for(*place, weight) - began


def _place(shape: Shape, number: int) -> tuple[int, int]:
    """Return service and backend of the `number`th change: a different one each time, spread over the table."""
    return (number * 7919 + 1) % shape.services, number % shape.backends


def _check(shape: Shape) -> None:
    saved = subprocess.run(["ipvsadm", "-Sn"], capture_output=True, text=True, check=True).stdout
    assert sorted(saved.splitlines()) == sorted(shape.table()), "the table is not the expected one"


class _Kernel:
    """Reads single values of the kernel's table, cheaply."""

    def __init__(self) -> None:
        self._kernel = open_kernel()

    def has(self, service: int, backend: int) -> bool:
        """Return whether a real server exists."""
        return real_server(service, backend) in self._kernel.connections(virtual_server(service))

    def wait_for(self, service: int, backend: int, weight: int) -> float:
        """Wait until a real server has a weight; return when, by `time.perf_counter`."""
        wanted, until = settings(weight), time.perf_counter() + _A_MOMENT
        while self._settings(service, backend) != wanted:
            assert time.perf_counter() < until, f"the weight is not {weight}"
        return time.perf_counter()

    def _settings(self, service: int, backend: int) -> object:
        state = self._kernel.read_virtual(virtual_server(service))
        return state and state[1][real_server(service, backend)]

    def check(self, shape: Shape) -> None:
        """Fail unless the kernel has the table of `shape`."""
        assert self._kernel.read() == table_of_shape(shape), "the table is not the expected one"

    def close(self) -> None:
        self._kernel.close()


@contextmanager
def _kernel() -> Iterator[_Kernel]:
    kernel = _Kernel()
    try:
        yield kernel
    finally:
        kernel.close()
