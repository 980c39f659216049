"""A simulated Docker engine: containers and what happens to them, networks, events with times, and its own faults.

It keeps its last events, as an engine does, until it is restarted; its clock may be stepped. What
changes a container is shown to `changed`, before a node can know of it.
"""

import json
from collections import deque
from collections.abc import Callable, Sequence
from signal import SIGKILL, SIGTERM
from typing import TYPE_CHECKING, Any

from tests.sim.hosts.containers import KINDS, Container
from tests.sim.simulation import Simulation

if TYPE_CHECKING:
    from tests.sim.hosts.connection import Stream

__all__ = ["Engine"]

REMEMBERED = 256  # events
STOP = 10.0  # seconds that a container has to stop


class Engine:
    """The engine of one host. `number` is that of its addresses, `networks` are those that it has, with their ids."""

    def __init__(self, simulation: Simulation, name: str, number: int, changed: Callable[[Container], None]) -> None:
        self.simulation = simulation
        self.name = name
        self.containers: dict[str, Container] = {}
        self.subnets = {
            network: f"10.{100 + number}.{place}" for place, network in enumerate(("bridge", "front", "back"))
        }
        # networks that it has in common with others, by id, with their subnets
        self.shared: dict[str, str] = {}
        self.is_down = self.is_hung = False
        self.clock_step = 0.0
        # containers whose inspection is refused
        self.refusing: set[str] = set()
        self.streams: list[Stream] = []
        self.events: deque[tuple[int, bytes]] = deque(maxlen=REMEMBERED)
        self._held: list[Callable[[], object]] = []
        self._changed = changed
        self._made = 0

    def clock(self) -> int:
        """Return Unix time by the engine's clock, in nanoseconds."""
        return int((self.simulation.time() + self.clock_step) * 1e9)

    def networks(self) -> list[dict[str, Any]]:
        """Return all networks, as a list has them."""
        own = {f"{self.name}-{name}": (name, f"{subnet}.0/24") for name, subnet in self.subnets.items()}
        own |= {name: (name, subnet) for name, subnet in self.shared.items()}
        return [
            {"Id": one, "Name": name, "IPAM": {"Config": [{"Subnet": subnet}]}} for one, (name, subnet) in own.items()
        ]

    def answers(self) -> bool:
        """Tell whether it does what it is asked for."""
        return not self.is_down and not self.is_hung

    def run(self, services: Sequence[str], kind: int) -> None:
        """Create a container, and start it."""
        if not self.answers() or self._made > 200:
            return
        self._made += 1
        one = Container(
            id=f"{self.name}-c{self._made}",
            number=self._made,
            services=tuple(services),
            kind=KINDS[kind % len(KINDS)],
            weight=(10, 10, 5)[self._made % 3],
            host=self.name,
            subnets=self.subnets,
        )
        one.networks = list(one.kind.networks)
        self.containers[one.id] = one
        self._emit("create", one)
        self.start(one)

    def start(self, one: Container) -> None:
        """Start a container that does not run."""
        if not self.answers() or one.running or one.id not in self.containers:
            return
        one.running, one.paused, one.signalled = True, False, "no"
        one.run += 1
        one.started_at = self.clock()
        one.health = "starting" if one.kind.has_health else "none"
        self._changed(one)
        for network in one.networks:
            self._emit_network("connect", network, one)
        self._emit("start", one)
        if one.kind.has_health:
            self._later(one, 0.5 + 2 * self.simulation.random.random(), lambda: self.health(one, "healthy"))

    def stop(self, one: Container, seconds: float) -> None:
        """Signal a container to stop, which ends in so many seconds, or is killed."""
        if not self.answers() or not one.running:
            return
        self._signal(one, int(SIGTERM))
        self._later(one, min(seconds, STOP), lambda: self._end(one, killed=seconds >= STOP))

    def signal(self, one: Container) -> None:
        """Send a container a signal that has no effect on it."""
        if self.answers() and one.running:
            self._emit("kill", one, signal="1")

    def crash(self, one: Container) -> None:
        """Have a container end by itself; an engine that hangs learns of that when it goes on."""
        if one.running:
            self._do(lambda: self._end(one, killed=False))

    def oom(self, one: Container, *, ends: bool) -> None:
        """Have the kernel kill a process in a container; or its first one."""
        if not one.running or not self.answers():
            return
        self._emit("oom", one)
        if ends:
            self._end(one, killed=False)

    def pause(self, one: Container) -> None:
        """Pause a container, or let it go on."""
        if self.answers() and one.running:
            one.paused = not one.paused
            self._changed(one)
            self._emit("pause" if one.paused else "unpause", one)

    def health(self, one: Container, health: str) -> None:
        """Have the check in the container's image say something else."""
        if one.running and one.kind.has_health and one.health != health and self.answers():
            one.health = health
            self._changed(one)
            self._emit(f"health_status: {health}", one)

    def connect(self, one: Container, network: str) -> None:
        """Connect a container to one more network, or disconnect it from that."""
        if not self.answers() or network == one.kind.networks[0]:
            return
        (one.networks.remove if network in one.networks else one.networks.append)(network)
        self._emit_network("connect" if network in one.networks else "disconnect", network, one)

    def remove(self, one: Container) -> None:
        """Remove a container, after killing it if it runs."""
        if not self.answers() or one.id not in self.containers:
            return
        if one.running:
            self._signal(one, int(SIGKILL))
            self._end(one, killed=True)
        del self.containers[one.id]
        one.run = 0
        self._changed(one)
        self._emit("destroy", one)

    def chatter(self) -> None:
        """Have so many events that nothing of the earlier ones is remembered."""
        for _ in range(REMEMBERED):
            self.events.append((self.clock(), b""))

    def hang(self, seconds: float) -> None:
        """Answer nothing for a while."""
        self.is_hung = True
        self.simulation.after(seconds, self.go_on)

    def go_on(self) -> None:
        """Answer again, and note what happened meanwhile."""
        self.is_hung = False
        held, self._held = self._held, []
        for function in held:
            function()

    def go_down(self, seconds: float) -> None:
        """Stop, and start again in a while; containers go on, and past events are forgotten."""
        self.go_on()
        self.is_down = True
        self.events.clear()
        self.disconnect()
        self.simulation.after(seconds, lambda: setattr(self, "is_down", False))

    def disconnect(self) -> None:
        """Break all event streams."""
        for stream in list(self.streams):
            stream.end()

    def _signal(self, one: Container, signal: int) -> None:
        if one.signalled == "no":
            one.signalled = "seen" if self.streams else "unclear"
            one.signalled_at = self.simulation.now
            self._changed(one)
            run = one.run
            self.simulation.after(STOP + 1.0, lambda: self._overdue(one) if one.run == run else None)
        self._emit("kill", one, signal=str(signal))

    def _overdue(self, one: Container) -> None:
        """Note that a container was not killed in time, so that its node may take it for one that goes on."""
        if one.running and one.signalled == "seen":
            one.signalled = "unclear"
            self._changed(one)

    def _end(self, one: Container, *, killed: bool) -> None:
        if not one.running:
            return
        if killed:
            self._emit("kill", one, signal=str(int(SIGKILL)))
        one.running = one.paused = False
        one.health = "none" if one.health == "none" else "unhealthy"
        self._changed(one)
        for network in one.networks:
            self._emit_network("disconnect", network, one)
        self._emit("die", one)

    def _later(self, one: Container, seconds: float, function: Callable[[], object]) -> None:
        """Have something happen to this run of a container later, once the engine answers."""
        run = one.run
        self.simulation.after(seconds, lambda: self._do(lambda: function() if one.run == run else None))

    def _do(self, function: Callable[[], object]) -> None:
        if self.is_hung:
            self._held.append(function)
        elif self.is_down:
            self.simulation.after(1.0, lambda: self._do(function))
        else:
            function()

    def _emit(self, action: str, one: Container, **attributes: str) -> None:
        self._send({"Type": "container", "Action": action, "Actor": {"ID": one.id, "Attributes": attributes}})

    def _emit_network(self, action: str, network: str, one: Container) -> None:
        actor = {"ID": f"{self.name}-{network}", "Attributes": {"container": one.id}}
        self._send({"Type": "network", "Action": action, "Actor": actor})

    def _send(self, event: dict[str, Any]) -> None:
        now = self.clock()
        line = json.dumps(event | {"time": now // 10**9, "timeNano": now}).encode()
        self.events.append((now, line))
        for stream in list(self.streams):
            stream.send(line)
