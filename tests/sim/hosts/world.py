"""A simulated world with Docker hosts, whose containers are the backends of all services.

What is in force is what the containers are, not what etcd holds of them: a key that goes through a
fault takes nothing from the truth.
"""

from collections.abc import Iterator, Mapping
from json import dumps
from math import inf
from pathlib import Path

from actors.settings import Settings
from clusterf.etcd.location import EtcdLocation
from clusterf.sources.url import Source
from tests.actors.support.some_settings import some_settings
from tests.sim.edits import add_service
from tests.sim.event import Event
from tests.sim.hosts.containers import PORT, Container, Ideal
from tests.sim.hosts.engine import Engine
from tests.sim.hosts.host import Host
from tests.sim.hosts.observer import Observer
from tests.sim.hosts.things import DOCKER_EDITS, DOCKER_FAULTS
from tests.sim.network import State
from tests.sim.node import Node
from tests.sim.script import Script
from tests.sim.world import World

__all__ = ["TTL", "DockerWorld"]

TTL = 10
CALM = 70.0  # seconds in which nothing may be written


class DockerWorld(World):
    """The world of a script with Docker hosts."""

    # whether directors hold what is removed as all leases end together
    holds_leases = True

    def __init__(self, script: Script, folder: Path, *, detailed: bool = False) -> None:
        # what each key is to be, for the containers' own; and keys that are gone by right until they are put again
        self.ideals: dict[bytes, Ideal] = {}
        self._containers: dict[bytes, Container] = {}
        self.ideal_since: dict[bytes, float] = {}
        self.excused: set[bytes] = set()
        self._believed: dict[bytes, bytes | None] = {}
        # when etcd went on after it was frozen; and whether all leases ended then
        self.thawed_at = -inf
        self.ends_together = False
        self.hosts: list[Host] = []
        super().__init__(script, folder, detailed=detailed)
        self.observer = Observer(self)
        self.etcd.lessor.watcher = self.observer.change
        for number in range(1, script.hosts + 1):
            engine = Engine(self.simulation, f"host{number}", number, self.changed)
            for slot in range(script.services):
                for machine in range(1 + (number + slot) % 3):
                    engine.run((f"web{slot}",), machine + slot)
            self.hosts.append(Host(self, f"host{number}", folder / f"docker{number}", self._docker_settings, engine))

    @property
    def contents(self) -> dict[bytes, bytes]:
        """What the operator has put into the source."""
        return {path: value for path, value in self.etcd.contents.items() if not self.owner(path)}

    def owner(self, path: bytes) -> Host | None:
        """Return the host whose container a key is about, None: it is not a container's."""
        name = path.rpartition(b"/")[2].decode()
        return next((host for host in self.hosts if name.startswith(f"{host.engine.name}-c")), None)

    def look(self) -> None:
        """Judge the tables of all nodes, and the keys of all hosts."""
        self.observer.look()
        super().look()

    def happen(self, event: Event) -> None:
        """Let an event happen."""
        things = DOCKER_EDITS | DOCKER_FAULTS
        if event.kind not in things:
            super().happen(event)
            return
        self.story.add(f"{event.kind}({event.first}, {event.second}, {event.third})", "EVENT")
        self.edits += event.kind in DOCKER_EDITS
        self.faults += event.kind in DOCKER_FAULTS
        things[event.kind][1](self, event.first, event.second)

    def put(self, changes: Mapping[bytes, bytes | None], how: int = 0) -> None:
        """Change keys of the operator's."""
        if not self.etcd.is_frozen:
            super().put(changes, how)

    def changed(self, one: Container) -> None:
        """Note that a container has changed, or is about to be published differently."""
        self.network.put(_packed(one.published), State.UP if one.running else State.REFUSING)
        host = next((host for host in self.hosts if host.engine.name == one.host), None)
        if one.signalled == "seen" and one.signalled_at == self.simulation.now and host and not host.is_calm:
            one.signalled = "unclear"
        self.note(one)

    def note(self, one: Container) -> None:
        """Compute anew what a container's backends are to be."""
        ideal, now = one.ideal(), self.simulation.now
        for path in paths(one):
            self._containers[path] = one
            if self.ideals.get(path) != ideal:
                self.ideal_since[path] = now
            if ideal is None:
                self.ideals.pop(path, None)
                self.excused.discard(path)
            else:
                self.ideals[path] = ideal
        self.believe(paths(one))

    def excuse(self, these: set[bytes]) -> None:
        """Note that these keys are gone by right, until they are put again."""
        self.excused |= these
        self.believe(these)

    def believe(self, these: Iterator[bytes] | list[bytes] | set[bytes]) -> None:
        """Take into the truth what these keys are to be."""
        changes = {path: self._value(path) for path in these}
        changes = {path: value for path, value in changes.items() if self._believed.get(path) != value}
        self._believed |= changes
        if changes:
            self._commit(changes)
        truth, now = self.truth, self.simulation.now
        if any(value is None and path in self.ideals for path, value in changes.items()):
            # they may have weight or not: nobody has replaced them
            truth.left = {pair: left for pair, left in truth.left.items() if left[0] != now}

    def _value(self, path: bytes) -> bytes | None:
        ideal = self.ideals.get(path)
        if ideal is None or ideal.weight is None or path in self.excused:
            return None
        value: dict[str, object] = {"ipv4": ideal.address, "tcp": PORT, "weight": ideal.weight}
        labels = dict(self._containers[path].kind.labels)
        if (check := labels.get("health")) is not None:
            value["health"] = {"type": check.partition(":")[0], "from": "label"}
        return dumps(value).encode()

    def doubt_signals(self, host: Host, since: float = 0.0) -> None:
        """Note that the node of a host may not know of signals sent since then."""
        for one in host.engine.containers.values():
            if one.signalled == "seen" and one.signalled_at >= since and one.running:
                one.signalled = "unclear"
                self.note(one)

    def forget(self, host: Host) -> None:
        """Note that the node of a host has lost its record, or what it has may be out of date."""
        self.doubt_signals(host)
        host.unfit(60.0)  # if it does not learn from its engine what to publish
        for one in host.engine.containers.values():
            if one.is_ambiguous and not one.unclear:
                one.unclear = True
                self.note(one)

    def heal(self) -> None:
        """End all faults."""
        self.thaw()
        super().heal()
        for host in self.hosts:
            engine = host.engine
            engine.go_on()
            engine.is_down = False
            engine.refusing.clear()
            host.heal()
            for one in list(engine.containers.values()):
                if one.paused:
                    engine.pause(one)
                if one.running and (one.unclear or one.signalled != "no"):
                    engine.remove(one)
                engine.health(one, "healthy")

    def freeze(self) -> None:
        """Have etcd do nothing while time passes."""
        if not self.etcd.is_frozen and not self.etcd.is_down:
            self.excuse_absent()
            self.etcd.is_frozen = True

    def thaw(self) -> None:
        """Have etcd go on."""
        if self.etcd.is_frozen:
            self.etcd.is_frozen = False
            self.thawed_at = now = self.simulation.now
            leases = [lease for lease in self.etcd.lessor.leases.values() if lease.keys]
            self.ends_together = self.holds_leases and all(lease.expires <= now for lease in leases)
            self.etcd.lessor.expire()

    def excuse_absent(self) -> None:
        """Note that no node may put back now what is missing of its keys."""
        for host in self.hosts:
            self.observer.excuse_absent(host)

    def judge_end(self) -> None:
        """Judge what is left when all faults have been over for long, and that nothing more is written."""
        self.observer.look(calm=True)
        revision, before = self.etcd.revision, self.simulation.now
        self.simulation.run(CALM)
        if self.etcd.revision != revision:
            self.violation(f"etcd: D6: {self.etcd.revision - revision} writes in calm since {before:.0f}")
        self.observer.look(calm=True)

    def everyone(self) -> list[Node]:
        """Return the nodes of directors and hosts."""
        return [*self.nodes, *self.hosts]

    def _populate(self, script: Script) -> None:
        for slot in range(script.services):
            add_service(self.configuration, slot, slot * 5)
            self.configuration.edit(slot, name=0, backends=())

    def _docker_settings(self, folder: Path) -> Settings:
        location = EtcdLocation(endpoints=("a:2379", "b:2379"), prefix=b"/clusterf/")
        settings: Settings = some_settings(
            node_name=folder.name,
            roles=("docker",),
            sources=(Source("etcd://a,b/clusterf", etcd=location),),
            state_dir=str(folder),
            runtime_dir=str(folder.with_name(f"run of {folder.name}") / "clusterf"),
            docker_endpoint=None,
            docker_max_weight=65535,
            docker_stop_timeout=10,
            route_gateway4=None,
            route_gateway6=None,
            etcd_ttl=TTL,
            resync_interval=60.0,
            stuck_timeout=30.0,
            vip_interface=None,
        )
        return settings


def paths(one: Container) -> list[bytes]:
    """Return the keys of a container's backends."""
    return [f"services/{service}/backends/{one.id}".encode() for service in one.services]


def _packed(address: str) -> bytes:
    return bytes(map(int, address.split(".")))
