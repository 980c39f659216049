"""What must hold of the keys in etcd, as somebody sees it who knows all containers.

D1  No publisher removes, or gives weight 0 to, the backend of a container that runs.
D2  The lease of a node that could keep it does not end.
D3  What has stopped, or is gone, has no weight soon.
D4  What runs is published as it is, soon.
D5  A key that others removed is back at once.
D6  In calm nothing is written.

As for a director's node, a host may be behind: what its node does has to be justified by some moment
since its last disturbance.
"""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tests.sim.hosts.containers import PORT, Ideal
from tests.sim.invariants import horizon

if TYPE_CHECKING:
    from tests.sim.hosts.host import Host
    from tests.sim.hosts.world import DockerWorld

__all__ = ["Observer"]

SOON = 3.0  # seconds until a change is published
BACK = 2.0  # seconds until a key that others removed is back
FIT = 5.0  # seconds at a stretch in which a node renews its lease
TOGETHER = 1.0  # seconds within which leases end that ended together


class Observer:
    """Judges what is written below the services of a world."""

    def __init__(self, world: "DockerWorld") -> None:
        self._world = world
        # when keys were taken away by others
        self._taken: dict[bytes, float] = {}

    def change(self, changes: Mapping[bytes, bytes | None], node: str, why: str) -> None:
        """Judge changes that are about to be made by a node, or, with a reason, to the keys of its lease."""
        world = self._world
        world.story.detail(f"etcd: {why or 'written'}: {_shown(changes)}", node)
        if not why:
            for path, value in changes.items():
                self._written(path, value, node)
        elif why == "expired":
            self._expired(set(changes), node)
        else:
            self.taken(set(changes))

    def taken(self, paths: set[bytes]) -> None:
        """Note that others are about to delete keys."""
        world = self._world
        known = {path for path in paths if world.owner(path) is not None}
        world.excuse(known)
        self._taken |= dict.fromkeys(known, world.simulation.now)

    def look(self, *, calm: bool = False) -> None:
        """Judge all keys."""
        world, now = self._world, self._world.simulation.now
        if world.etcd.is_down or world.etcd.is_frozen:
            return
        for path in sorted({*world.ideals, *(path for path in world.etcd.contents if world.owner(path))}):
            host = world.owner(path)
            assert host is not None
            since = max(world.ideal_since.get(path, 0.0), host.disturbed_until)
            if calm or (now >= since + SOON and self._can_write(host)):
                self._judge(path, world.ideals.get(path), host)

    def _can_write(self, host: "Host") -> bool:
        return self._world.etcd.reachable(host.name) and host.is_running

    def _judge(self, path: bytes, ideal: Ideal | None, host: "Host") -> None:
        world = self._world
        found = _decoded(world.etcd.contents.get(path))
        if ideal is None or ideal.weight == 0:
            if found is not None and (ideal is None or found["weight"]):
                self._report(host, path, f"D3: {'gone' if ideal is None else 'stopped'}, and published: {found}")
        elif ideal.weight is not None:
            if found is None and world.simulation.now - self._taken.get(path, 0.0) < BACK:
                return
            if found is None or (found["ipv4"], found["tcp"], found["weight"]) != (*ideal[:1], PORT, ideal.weight):
                self._report(host, path, f"D4: runs with weight {ideal.weight} at {ideal.address}, published: {found}")

    def _written(self, path: bytes, value: bytes | None, node: str) -> None:
        world, found = self._world, _decoded(value)
        host, ideal = world.owner(path), world.ideals.get(path)
        if host is None:
            return
        if value is not None:
            self._taken.pop(path, None)
            if path in world.excused:
                world.excused.discard(path)
                world.believe([path])
        if ideal is not None and ideal.weight == 0 and found is not None and found["weight"]:
            if world.ideal_since[path] <= horizon(host):
                self._report(host, path, f"D3: stopped, and is given weight by {node}")
            return
        if ideal is None or not ideal.weight or (found is not None and found["weight"]):
            return
        if world.ideal_since[path] <= horizon(host):
            what = "removed" if found is None else "given weight 0"
            self._report(host, path, f"D1: runs with weight {ideal.weight}, and is {what} by {node}")

    def _expired(self, paths: set[bytes], node: str) -> None:
        """Decide whether keys that end with their lease count as wanted still."""
        world, now = self._world, self._world.simulation.now
        host = next(host for host in world.hosts if host.name == node)
        weighty = any(world.ideals[path].weight for path in paths & world.ideals.keys())
        fit = weighty and host.was_fit(max(now - host.settings.etcd_ttl, world.thawed_at), FIT)
        if fit and now - world.thawed_at > TOGETHER:
            self._report(host, min(paths), "D2: the lease of a node that could keep it has expired")
        if not (world.ends_together and now - world.thawed_at <= TOGETHER and host.is_fit):
            world.excuse(paths)

    def excuse_absent(self, host: "Host") -> None:
        """Note that a node may not put back now what is missing of its keys."""
        world = self._world
        absent = {path for path in world.ideals if world.owner(path) is host and path not in world.etcd.contents}
        world.excuse(absent)

    def _report(self, host: "Host", path: bytes, what: str) -> None:
        self._world.violation(f"{host.name}: {what}: {path.decode()}")


def _decoded(value: bytes | None) -> dict[str, Any] | None:
    if value is None:
        return None
    raw: dict[str, Any] = json.loads(value)
    return {"ipv4": None, "tcp": None, "weight": 10} | raw


def _shown(changes: Mapping[bytes, bytes | None]) -> str:
    shown = []
    for path, value in list(changes.items())[:6]:
        found = _decoded(value) if value is None or value.startswith(b"{") else {"weight": value}
        shown.append(f"{path.decode()} {found and found['weight'] if found else 'deleted'}")
    return ", ".join(shown) + (f" and {len(changes) - 6} more" if len(changes) > 6 else "")
