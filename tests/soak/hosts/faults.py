"""What goes wrong around the hosts: their engines and nodes, the etcd, and the director.

A fault is over when it returns. None of them ends a container, or lets one host be away for as long as its lease.
"""

import signal
import time
from collections.abc import Callable, Mapping
from random import Random

from clusterf.etcd.client import Client
from tests.soak.hosts import guest
from tests.soak.hosts.host import TTL, Host
from tests.soak.hosts.judge import DELETED
from tests.soak.hosts.keys import DEADLINE, PREFIX, backends
from tests.soak.hosts.world import World
from tests.soak.node import STUCK, send

__all__ = ["DIRECTOR_FAULTS", "ENGINE_FAULTS", "ETCD_FAULTS", "NODE_FAULTS", "Fault"]

Fault = Callable[[Random, World], str]


def _host(rng: Random, world: World) -> Host:
    return rng.choice(world.hosts)


def _seconds(rng: Random, least: float, most: float) -> float:
    return round(rng.uniform(least, most), 1)


def engine_killed(rng: Random, world: World) -> str:
    """Kill an engine; its containers go on, and it is started again."""
    host, seconds = _host(rng, world), _seconds(rng, 0.1, 3)
    with host.lock:
        host.engine.kill()
        time.sleep(seconds)
        host.engine.start()
    return f"host{host.number} for {seconds} s"


def engine_restarted(rng: Random, world: World) -> str:
    """Restart an engine, while its containers go on."""
    host = _host(rng, world)
    with host.lock:
        host.engine.restart(live_restore=True)
    return f"host{host.number}"


def engine_frozen(rng: Random, world: World) -> str:
    """Freeze an engine."""
    host, seconds = _host(rng, world), _seconds(rng, 0.5, 12)
    with host.lock:
        host.engine.freeze()
        try:
            time.sleep(seconds)
        finally:
            host.engine.thaw()
            host.engine.start()
    return f"host{host.number} for {seconds} s"


def node_restarted(rng: Random, world: World) -> str:
    """Restart a node, or crash it."""
    host, how = _host(rng, world), rng.choice([signal.SIGTERM, signal.SIGKILL])
    host.node.restart(how)
    return f"host{host.number} by {how.name}"


def child_killed(rng: Random, world: World) -> str:
    """Kill a child of a node."""
    host = _host(rng, world)
    children = host.node.children()
    name = rng.choice(sorted(children)) if children else "none"
    if name in children:
        send(children[name], signal.SIGKILL)
    return f"host{host.number}: {name}"


def child_stopped(rng: Random, world: World) -> str:
    """Stop a child of a node, until it is stuck, or for less."""
    host, seconds = _host(rng, world), _seconds(rng, 0.2, 2 * STUCK)
    pid = host.node.children().get("docker", 0)
    if pid:
        send(pid, signal.SIGSTOP)
        time.sleep(seconds)
        send(pid, signal.SIGCONT)
    return f"host{host.number} for {seconds} s" if pid else "none"


def state_lost(rng: Random, world: World) -> str:
    """Start a node without its state."""
    host = _host(rng, world)
    host.lose_state()
    return f"host{host.number}"


def state_copied(rng: Random, world: World) -> str:
    """Start a node with a copy of another one's state."""
    one, other = rng.sample(world.hosts, 2)
    one.lose_state(other)
    return f"host{one.number} has that of host{other.number}"


def etcd_frozen(rng: Random, world: World) -> str:
    """Freeze etcd for less than the leases last."""
    return _freeze(world, _seconds(rng, 0.2, TTL / 3))


def etcd_frozen_for_long(rng: Random, world: World) -> str:
    """Freeze etcd for longer than the leases last: all end at the same moment."""
    return _freeze(world, _seconds(rng, TTL + 1, 2.5 * TTL))


def _freeze(world: World, seconds: float) -> str:
    (member,) = world.etcd.members
    with world.etcd_lock:
        member.freeze()
        time.sleep(seconds)
        member.thaw()
        world.etcd.wait_for(member)
    return f"for {seconds} s"


def etcd_killed(rng: Random, world: World) -> str:
    """Kill etcd, and start it again."""
    seconds = _seconds(rng, 0.1, 4)
    with world.etcd_lock:
        world.etcd.kill()
        time.sleep(seconds)
        world.etcd.start()
    return f"for {seconds} s"


def leases_revoked(rng: Random, world: World) -> str:
    """End one lease, or all."""
    with world.etcd_lock:
        leases = world.etcd.ctl("lease", "list").split()[3:]
        chosen = leases if rng.random() < 0.5 else leases[:1]
        for lease in chosen:
            world.etcd.ctl("lease", "revoke", lease)
    return f"{len(chosen)} of {len(leases)}"


def keys_deleted(rng: Random, world: World) -> str:
    """Delete the keys of backends by hand, one or all."""
    with world.etcd_lock, Client(world.etcd.location(PREFIX), world.etcd.endpoints[0], DEADLINE) as client:
        paths = sorted(backends(client))
        chosen = rng.sample(paths, 1) if paths and rng.random() < 0.7 else paths
        if chosen:
            begin = time.monotonic()
            client.transact([], [path.encode() for path in chosen])
            for path in chosen:
                world.recorder.action(begin, DELETED, path)
    return f"{len(chosen)} of {len(paths)}"


def director_restarted(_: Random, world: World) -> str:
    """Restart the director."""
    world.order(guest.RESTART)
    return ""


def director_child_killed(rng: Random, world: World) -> str:
    """Kill a child of the director."""
    name = rng.choice(["config", "director", "health"])
    world.order(f"{guest.KILL} {name}")
    return name


ENGINE_FAULTS: Mapping[str, tuple[int, Fault]] = {
    "engine killed": (2, engine_killed),
    "engine restarted": (1, engine_restarted),
    "engine frozen": (2, engine_frozen),
}
NODE_FAULTS: Mapping[str, tuple[int, Fault]] = {
    "node restarted": (2, node_restarted),
    "child of a node killed": (2, child_killed),
    "child of a node stopped": (2, child_stopped),
    "state of a node lost": (1, state_lost),
    "state of a node copied": (1, state_copied),
}
ETCD_FAULTS: Mapping[str, tuple[int, Fault]] = {
    "etcd frozen": (2, etcd_frozen),
    "etcd frozen for longer than the leases": (2, etcd_frozen_for_long),
    "etcd killed": (2, etcd_killed),
    "leases revoked": (2, leases_revoked),
    "keys deleted by hand": (2, keys_deleted),
}
DIRECTOR_FAULTS: Mapping[str, tuple[int, Fault]] = {
    "director restarted": (2, director_restarted),
    "child of the director killed": (2, director_child_killed),
}
