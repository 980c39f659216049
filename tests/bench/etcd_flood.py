"""A flood of changes in etcd: what a node does with it, and whether its table is exact afterwards."""

import re
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec

from tests.bench.etcd_source import Prefix
from tests.bench.nodes import Memory, command, running
from tests.bench.trees import WEIGHT, Shape

__all__ = ["Flood", "measure"]

WRITERS = 4  # concurrent; each backend has one writer, so that the order of its puts is known
QUIET = 2.0  # seconds without a log line, after which the node counts as idle
_EDIT = re.compile(r"(ipvsadm -e .*) -w (\d+)$")


class Flood(msgspec.Struct, frozen=True):
    """What was measured. Times are in seconds."""

    shape: Shape
    rate: int  # intended, puts per second
    puts: int
    took: float
    operations: int
    wrong: int  # backends whose last logged weight differs from the last put
    lag: float  # from before the last put to the last operation
    cpu: float
    before: dict[str, Memory]
    after: dict[str, Memory]


def measure(prefix: Prefix, shape: Shape, rate: int, seconds: float, place: Path) -> Flood:
    """Change the backends, one after the other, `rate` times per second."""
    assert shape.reals % WRITERS == rate % WRITERS == 0  # else the same backend would have several writers
    prefix.fill(shape)
    with running(command(prefix.url, place, "--noop")) as node:
        for _ in range(shape.operations):
            node.log.wait_for("ipvs noop: ipvsadm ")
        _put(prefix, shape, rate, range(rate))  # the first changes allocate memory that later ones reuse
        list(node.log.until_quiet(QUIET))
        before, cpu, began = node.memory(), node.cpu(), time.perf_counter()
        wanted = _put(prefix, shape, rate, range(rate, rate + int(rate * seconds)))
        last_put = max(wanted.values())
        lines = [(came, found) for came, line in node.log.until_quiet(QUIET) if (found := _EDIT.search(line))]
        return Flood(
            shape,
            rate,
            puts=len(wanted),
            took=last_put - began,
            operations=len(lines),
            wrong=_differences(_last(wanted), _last(found[0] for _, found in lines)),
            lag=lines[-1][0] - last_put,
            cpu=node.cpu() - cpu,
            before=before,
            after=node.memory(),
        )


def _put(prefix: Prefix, shape: Shape, rate: int, numbers: range) -> dict[str, float]:
    """Put, and return the time of each put by the operation that should follow; in order for each backend."""
    began = time.perf_counter() - numbers.start / rate

    def write(writer: int) -> dict[str, float]:
        wanted = {}
        with prefix.client() as client:
            for number in numbers[writer::WRITERS]:
                time.sleep(max(0.0, began + number / rate - time.perf_counter()))
                path, value, operation = _change(shape, number)
                wanted[operation] = time.perf_counter()
                client.transact([(path.encode(), value.encode())], [])
        return wanted

    with ThreadPoolExecutor(WRITERS) as pool:
        return {operation: at for part in pool.map(write, range(WRITERS)) for operation, at in part.items()}


def _change(shape: Shape, number: int) -> tuple[str, str, str]:
    """Return path, value and operation of a change: all backends in turn, each time with a new weight."""
    turn, backend = divmod(number, shape.reals)
    at = divmod(backend, shape.backends)
    weight = WEIGHT + 1 + turn
    return shape.path(*at), shape.value(*at, weight), shape.operation(*at, weight)


def _last(operations: Iterable[str]) -> dict[str, str]:
    """Return the last weight of each real server."""
    return dict(operation.rsplit(" -w ", 1) for operation in operations)


def _differences(wanted: dict[str, str], logged: dict[str, str]) -> int:
    return sum(logged.get(real) != weight for real, weight in wanted.items())
