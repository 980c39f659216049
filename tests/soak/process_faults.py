"""Faults of the node's processes: killed, stopped, starved, restarted, flooded with signals."""

import signal
import time
from collections.abc import Callable
from random import Random

from tests.soak.node import STUCK, Node, send
from tests.soak.world import World

__all__ = ["PROCESS_FAULTS"]

Fault = Callable[[Random, World], str]
PATIENCE = 20.0  # seconds for the children to begin


def _children(node: Node) -> dict[str, int]:
    """Return the children that run, once there are some."""
    deadline = time.monotonic() + PATIENCE
    while not (children := node.children()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return children


def _one(rng: Random, world: World) -> tuple[str, int]:
    """Return the name and the pid of a child; 0 if there is none."""
    children = _children(world.node)
    name = rng.choice(sorted(children)) if children else "none"
    return name, children.get(name, 0)


def kill_child(rng: Random, world: World) -> str:
    """Kill a child."""
    name, pid = _one(rng, world)
    if pid:
        send(pid, signal.SIGKILL)
    return name


def kill_children(_: Random, world: World) -> str:
    """Kill all children at the same time."""
    children = _children(world.node)
    for pid in children.values():
        send(pid, signal.SIGKILL)
    return " ".join(children)


def _stop(pids: list[int], seconds: float) -> None:
    for pid in pids:
        send(pid, signal.SIGSTOP)
    time.sleep(seconds)
    for pid in reversed(pids):
        send(pid, signal.SIGCONT)


def stop_child(rng: Random, world: World) -> str:
    """Stop a child for a time in which it is not stuck yet."""
    name, pid = _one(rng, world)
    seconds = round(rng.uniform(0.2, STUCK / 2), 1)
    _stop([pid] if pid else [], seconds)
    return f"{name} for {seconds} s"


def freeze_child(rng: Random, world: World) -> str:
    """Stop a child until it is stuck, and killed for that."""
    name, pid = _one(rng, world)
    seconds = round(rng.uniform(STUCK + 2, STUCK + 4), 1)
    _stop([pid] if pid else [], seconds)
    return f"{name} for {seconds} s"


def stop_supervisor(rng: Random, world: World) -> str:
    """Stop the supervisor, for less or more than the time after which a child is stuck."""
    seconds = round(rng.uniform(0.5, 2 * STUCK), 1)
    _stop([world.node.pid] if world.node.pid else [], seconds)
    return f"for {seconds} s"


def stall(rng: Random, world: World) -> str:
    """Stop the whole node, as a stall of the machine does."""
    pids = [world.node.pid, *_children(world.node).values()]
    seconds = round(rng.uniform(0.5, 2 * STUCK), 1)
    _stop([pid for pid in pids if pid], seconds)
    return f"for {seconds} s"


def storm(rng: Random, world: World) -> str:
    """Send the supervisor a thousand SIGHUPs while a child is stopped."""
    name, pid = _one(rng, world)
    if pid:
        send(pid, signal.SIGSTOP)
    for _ in range(1000 if pid else 0):
        world.node.send(signal.SIGHUP)
        time.sleep(0.001)
    if pid:
        send(pid, signal.SIGCONT)
    return f"with {name} stopped"


def reload(_: Random, world: World) -> str:
    """Have the node reload. While the interpreter starts, SIGHUP would still end it."""
    _children(world.node)
    world.node.send(signal.SIGHUP)
    return ""


def restart(_: Random, world: World) -> str:
    """End the node in order, and start it again."""
    world.node.restart()
    return ""


def crash(_: Random, world: World) -> str:
    """Kill the supervisor; the node is started again."""
    world.node.restart(signal.SIGKILL)
    return ""


def reshard(rng: Random, world: World) -> str:
    """Restart the node with another number of health processes."""
    world.node.more = ["--health-processes", str(rng.choice([1, 2, 3]))]
    world.node.restart()
    return " ".join(world.node.more)


PROCESS_FAULTS: dict[str, tuple[int, Fault]] = {
    "kill a child": (6, kill_child),
    "kill all children": (2, kill_children),
    "stop a child": (4, stop_child),
    "stop a child until it is stuck": (3, freeze_child),
    "stop the supervisor": (2, stop_supervisor),
    "stall of the machine": (2, stall),
    "storm of SIGHUP": (2, storm),
    "reload": (2, reload),
    "restart": (2, restart),
    "kill the supervisor": (2, crash),
    "other --health-processes": (1, reshard),
}
"""Each fault with how often it comes."""
