"""Running scripts: one by one, and judging what is left when all faults are over."""

import logging
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from clusterf.ipvs import ipvsadm
from clusterf.ipvs.table import Table
from tests.sim.hosts.world import DockerWorld
from tests.sim.node import Node
from tests.sim.patches import simulated
from tests.sim.script import Script
from tests.sim.simulation import START
from tests.sim.world import Violation, World

__all__ = ["Result", "run"]

SETTLING = 150.0  # seconds after the last fault within which every table is right
QUIET = 40.0  # seconds after processes were killed within which nothing is written


class Result(NamedTuple):
    """What a run has found, and how much has happened in it. `seconds` are simulated."""

    script: Script
    violations: list[Violation]
    seconds: float
    edits: int
    faults: int
    world: World


def run(script: Script, *, verbose: bool = False, keep_going: bool = False) -> Result:
    """Run a script to its end, or, unless it is to `keep_going`, to the first violation."""
    with _folder() as folder:
        kind = DockerWorld if script.hosts else World
        world = kind(script, folder, detailed=verbose)
        with _logging(world.story if verbose else None), simulated(world.simulation):
            _play(world, keep_going)
            for node in world.everyone():
                node.stop()
    seconds = world.simulation.now - START
    return Result(script, world.violations, seconds, world.edits, world.faults, world)


def _play(world: World, keep_going: bool) -> None:
    world.look()
    world.simulation.run(30.0)
    for event in world.script.events:
        world.simulation.run(event.gap)
        if world.violations and not keep_going:
            return
        world.happen(event)
    world.simulation.run(5.0)
    if world.violations and not keep_going:
        return
    _settle(world)


def _settle(world: World) -> None:
    """End all faults, and judge whether every table becomes right, and stays so when processes are killed."""
    world.story.add("all faults end", "EVENT")
    world.heal()
    world.simulation.run(40.0)
    world.confirm()
    world.simulation.run(SETTLING)
    for node in world.nodes:
        for line in _differences(world, node):
            world.violation(f"{node.name}: L1: not right {SETTLING:.0f} seconds after the last fault: {line}")
    world.judge_end()
    writes = [node.kernel.writes for node in world.nodes]
    for node in world.everyone():
        node.disturb(5.0)
        for process in list(node.processes.values()):
            if process is not None and process.alive:
                node.kill(process)
    world.simulation.run(QUIET)
    for node, before in zip(world.nodes, writes, strict=True):
        if node.kernel.writes != before:
            world.violation(f"{node.name}: L2: wrote {node.kernel.writes - before} steps though nothing has changed")


def _differences(world: World, node: Node) -> list[str]:
    """Return what is missing and what is too much in the table of a node."""
    table, expected = Table(), world.truth.expected(world.network)
    for virtual, settings in node.kernel.table.virtuals.items():
        # what others made may have been taken for ours, or not; so may all after the record was lost
        unclear = virtual in node.made_by_hand or node.forgot_at is not None
        if virtual in expected.virtuals or not unclear:
            table.put_virtual(virtual, settings)
            table.reals[virtual] = node.kernel.table.reals[virtual]
    wanted, present = set(ipvsadm.lines(expected)), set(ipvsadm.lines(table))
    return [f"missing: {line}" for line in sorted(wanted - present)] + [
        f"too much: {line}" for line in sorted(present - wanted)
    ]


@contextmanager
def _folder() -> Iterator[Path]:
    fast = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(prefix="clusterf-sim-", dir=fast if fast.is_dir() else None))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _logging(to: logging.Handler | None) -> Iterator[None]:
    """Have the log lines of the code under test go to a handler, or nowhere."""
    root = logging.root
    before, level = root.manager.disable, root.level
    logging.disable(logging.NOTSET if to else logging.CRITICAL)
    root.setLevel(logging.INFO)
    if to:
        root.addHandler(to)
    try:
        yield
    finally:
        if to:
            root.removeHandler(to)
        logging.disable(before)
        root.setLevel(level)
