"""From a backend's death to weight 0 in the kernel, with a node and with keepalived.

Run by the benchmark in a guest of tests/lab. Each program has a network
namespace of its own, with the same backends, of which one after the other dies,
at random times.
"""

import random
import re
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

import msgspec

from tests.bench import keepalived
from tests.bench.fleets import PORT, WEIGHT, Fleet
from tests.bench.health_watch import connects
from tests.bench.nodes import command, running
from tests.system.support.netns import network_namespace
from tests.waiting import wait_until

__all__ = ["Deaths", "measure"]

PATIENCE = 60.0  # seconds until all backends have their weight, and until no dead one has it
APART = 0.4  # seconds between deaths, at most
LOOK = 0.01  # seconds between reads of the kernel's table
# a line of /proc/net/ip_vs
_REAL = re.compile(r"-> ([0-9A-F]{8}):[0-9A-F]{4} +\w+ +(\d+) ")

Checker = Callable[[Fleet, Path], AbstractContextManager[None]]


class Deaths(msgspec.Struct, frozen=True):
    """The results of one program. Times are in seconds."""

    program: str
    delays: list[float]  # from each death to weight 0


def measure(fleet: Fleet, deaths: int) -> list[Deaths]:
    """Measure both programs, one after the other."""
    return [_measure(name, checker, fleet, deaths) for name, checker in CHECKERS.items()]


def _measure(name: str, checker: Checker, fleet: Fleet, deaths: int) -> Deaths:
    with ExitStack() as stack:
        stack.enter_context(network_namespace())
        backends = {address: stack.enter_context(_backend(address)) for address in fleet.addresses}
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(dir="/dev/shm")))
        stack.enter_context(checker(fleet, directory))
        wait_until(lambda: set(_weights().values()) == {WEIGHT} and len(_weights()) == fleet.targets, PATIENCE)
        wait_until(lambda: connects() >= 2 * fleet.targets, PATIENCE)
        return Deaths(name, _kill(backends, deaths))


def _backend(address: str) -> socket.socket:
    """Return a listening socket: the kernel accepts the connections."""
    return socket.create_server((address, PORT), backlog=socket.SOMAXCONN)


def _kill(backends: dict[str, socket.socket], deaths: int) -> list[float]:
    """Kill `deaths` backends, and return how long each kept its weight, in seconds."""
    chance = random.Random(deaths)
    doomed = chance.sample(sorted(backends), deaths)
    died: dict[str, float] = {}
    delays: list[float] = []
    end = time.perf_counter() + PATIENCE
    following = 0.0
    while len(delays) < deaths and time.perf_counter() < end:
        if doomed and time.perf_counter() >= following:
            backend = doomed.pop()
            backends[backend].close()
            died[backend] = time.perf_counter()
            following = died[backend] + chance.uniform(0, APART)
        time.sleep(LOOK)
        weights, now = _weights(), time.perf_counter()
        delays += [now - died.pop(backend) for backend in list(died) if not weights[backend]]
    assert len(delays) == deaths, f"{sorted(died)} are dead and keep their weights"
    return delays


def _weights() -> dict[str, int]:
    """Return the weight of each real server in the kernel, by its address."""
    table = Path("/proc/thread-self/net/ip_vs").read_text()
    return {socket.inet_ntoa(bytes.fromhex(packed)): int(weight) for packed, weight in _REAL.findall(table)}


@contextmanager
def _node(fleet: Fleet, directory: Path) -> Iterator[None]:
    tree = directory / "tree"
    fleet.write_tree(tree)
    with running(command(tree.as_uri(), directory)) as node:
        node.log.wait_for(" is up (")
        yield


@contextmanager
def _keepalived(fleet: Fleet, directory: Path) -> Iterator[None]:
    keepalived.configure(directory, fleet.keepalived())
    with keepalived.running(directory):
        yield


CHECKERS: dict[str, Checker] = {"node": _node, "keepalived": _keepalived}


if __name__ == "__main__":
    *fleet, deaths = sys.argv[1:]
    print(msgspec.json.encode(measure(msgspec.convert(fleet, Fleet, strict=False), int(deaths))).decode())
