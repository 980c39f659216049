"""Where the code under test meets the world: its clock, chance, disk, links, kernel and network are replaced here."""

import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib import import_module
from random import Random
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from actors.base.actor import Actor
from tests.sim import etcd, fibers, links, process
from tests.sim.disk import FaultySqlite
from tests.sim.kernel import Session
from tests.sim.network import Prober
from tests.sim.process import Loop, present
from tests.sim.simulation import Simulation
from tests.sim.tree import Watchfiles

__all__ = ["simulated"]

# whatever a process loads later has to be there before its clock is replaced
for _name in ("config.process", "config.etcd_watcher", "config.file_watcher", "director.process", "health.process"):
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
    }


def _endpoints() -> etcd.Endpoints:
    node = present().node
    return etcd.Endpoints(node.world.etcd, node.name)


def _prober(loop: Loop) -> Prober:
    node = present().node
    return Prober(node.world.network, node.name, loop)


def _boot() -> str:
    return present().node.boot
