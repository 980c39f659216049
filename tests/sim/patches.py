"""Where the code under test meets the world: its clock, chance, disk, links, kernel and network are replaced here."""

import errno
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from importlib import import_module
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from actors.base.actor import Actor
from clusterf.docker.inventory import Inventory
from clusterf.lib.files.regular import write_file
from tests.sim import etcd, fibers, links, process
from tests.sim.disk import READ_ONLY, FaultySqlite
from tests.sim.hosts.connection import Connection
from tests.sim.kernel import Session
from tests.sim.network import Prober
from tests.sim.process import Loop, present
from tests.sim.simulation import Simulation
from tests.sim.threads import Condition, PriorityQueue, SimpleQueue, Thread
from tests.sim.tree import Watchfiles

__all__ = ["simulated"]

# whatever a process loads later has to be there before its clock is replaced
_LOADED = ("config.process", "config.etcd_watcher", "config.file_watcher", "director.process", "health.process")
for _name in (*_LOADED, "docker.process"):
    import_module(f"actors.{_name}")


@contextmanager
def simulated(simulation: Simulation) -> Iterator[None]:
    """Run the code under test in `simulation`."""
    clock = SimpleNamespace(
        monotonic=simulation.monotonic, time=simulation.time, perf_counter=simulation.monotonic, sleep=fibers.sleep
    )
    with ExitStack() as stack:
        process.enter(simulation)
        stack.callback(process.leave)
        for module in _with_clock():
            stack.enter_context(patch.object(module, "time", clock))
        for target, value in _replacements(simulation).items():
            stack.enter_context(patch(target, value))
        stack.enter_context(patch.object(Actor, "start", classmethod(process.start_actor)))
        yield


def _with_clock() -> list[Any]:
    """Return the modules of clusterf that use the module `time`."""
    names = [name for name in sys.modules if name.partition(".")[0] in {"actors", "clusterf"}]
    return [sys.modules[name] for name in names if getattr(sys.modules[name], "time", None) is time]


def _replacements(simulation: Simulation) -> dict[str, Any]:
    subscription, publisher = links.Subscription, links.Publisher
    return {
        "clusterf.lib.jitter._random": Random(simulation.random.random()),
        "clusterf.sources.follower.threading": SimpleNamespace(Event=fibers.Event),
        "actors.config.authorities_watcher.threading": SimpleNamespace(Event=fibers.Event),
        "clusterf.sources.etcd_follower.Endpoints": lambda _: _endpoints(),
        "clusterf.sources.etcd_follower.WatchReader": etcd.WatchReader,
        "clusterf.sources.tree_follower.watchfiles": Watchfiles(),
        "clusterf.lib.state_file.sqlite3": FaultySqlite(),
        "clusterf.reconcile.record.boot_id": _boot,
        "clusterf.health.verdict_store.boot_id": _boot,
        "actors.director.process.open_kernel": lambda: Session(present().node.kernel),
        "actors.health.process.Prober": _prober,
        "actors.config.config_publisher.Publisher": publisher,
        "actors.health.health_checker.Publisher": publisher,
        "actors.health.health_checker.Subscription": subscription,
        "actors.director.route_resolver.Subscription": subscription,
        "actors.director.backend_merger.Subscription": subscription,
        **_docker(simulation),
    }


def _docker(simulation: Simulation) -> dict[str, Any]:
    """Return what is replaced in the docker process."""
    threads = SimpleNamespace(Thread=Thread, Event=fibers.Event, Lock=threading.Lock, Condition=Condition)
    return {
        "clusterf.docker.follower.threading": threads,
        "clusterf.docker.follower.SimpleQueue": SimpleQueue,
        "clusterf.docker.session.threading": threads,
        "clusterf.docker.query_pool.threading": threads,
        "clusterf.docker.query_pool.PriorityQueue": PriorityQueue,
        "clusterf.leases.lease_keeper.threading": threads,
        "clusterf.leases.lease_record.threading": threads,
        "clusterf.leases.key_watch.threading": threads,
        "clusterf.leases.lease_keeper.Endpoints": lambda _, deadline: _endpoints(deadline),
        "clusterf.leases.lease_file.write_file": _write_file,
        "actors.docker.process.Engine": lambda _: Connection(present().node.engine),
        "actors.docker.record_keeper.threading": threads,
        "actors.docker.process.Inventory": partial(Inventory, clock=simulation.monotonic),
        "actors.docker.process.boot_id": _boot,
        # all machines are made of one image
        "actors.docker.process.machine_id": lambda: "machine",
    }


def _write_file(path: Path, content: bytes) -> None:
    if (fault := present().node.disk.fault) is not None:
        raise OSError(errno.EROFS if fault == READ_ONLY else errno.ENOSPC, fault)
    write_file(path, content)


def _endpoints(deadline: float = etcd.DEADLINE) -> etcd.Endpoints:
    node = present().node
    return etcd.Endpoints(node.world.etcd, node.name, deadline)


def _prober(loop: Loop) -> Prober:
    node = present().node
    return Prober(node.world.network, node.name, loop)


def _boot() -> str:
    return present().node.boot
