"""A simulated node: its processes, its kernel and its disk, and the supervisor that restarts processes."""

from collections import deque
from collections.abc import Callable, Sequence
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any

from actors.base.messages import Confirm, Reload
from actors.base.process import Host
from actors.link.messages import ValueIs
from actors.node import child_of
from actors.settings import Settings
from clusterf.config.keys import path_of
from clusterf.ipvs.table import Step, VirtualServer
from clusterf.lib.text import escape
from tests.sim.disk import Disk
from tests.sim.kernel import Kernel
from tests.sim.process import Process
from tests.sim.truth import Pair

if TYPE_CHECKING:
    from tests.sim.invariants import Held
    from tests.sim.links import Publisher
    from tests.sim.world import World

__all__ = ["Node"]

RESTART = 40.0  # seconds, at most, until all is known, probed and written after a restart
START = 0.2  # seconds that a process takes to start, on average
STUCK = 30.0  # seconds, by default
INTENSITY, PERIOD = 10, 60.0


class Node:
    """One node of a world. `judge` is shown each step before its kernel does it. `names` are its processes."""

    # seconds after which a paused process is killed, and until one that ended is started again, at most
    stuck, longest_delay = STUCK, 5.0

    def __init__(
        self,
        world: "World",
        name: str,
        folder: Path,
        settings: Callable[[Path], Settings],
        judge: Callable[["Node", Step], None],
        names: Sequence[str] | None = None,
    ) -> None:
        self.world = world
        self.simulation = simulation = world.simulation
        self.name = name
        self.disk = Disk(folder)
        self.settings = settings(folder)
        self.kernel = Kernel(simulation, lambda step: judge(self, step))
        self.boot = f"{name}-1"
        self.names: Sequence[str] = names or ("config", *self.settings.health_names(), "director")
        self.processes: dict[str, Process | None] = dict.fromkeys(self.names)
        # the publishing ends of links, by name
        self.publishers: dict[str, Publisher] = {}
        self.links_cut = False
        # frames are so many times slower than usual
        self.link_delay = 1.0
        self._exits: deque[float] = deque()
        self._tries = dict.fromkeys(self.names, 0)
        # since when something is wrong with it, and until when it may take to recover
        self.disturbed_since = simulation.now
        self.disturbed_until = simulation.now + 25.0
        # until when its probes may fail though the backends work
        self.blind_until = 0.0
        # until when it may be behind as it was not running
        self.down_until = 0.0
        # when its state directory was lost
        self.forgot_at: float | None = None
        self.lost_at: float | None = None
        # for the invariants: virtual servers of others, and those that its director has removed; real servers that
        # others have touched, or that its director gave weight 0, and when; what counts as wanted though it is not
        self.foreign: set[VirtualServer] = set()
        self.made_by_hand: set[VirtualServer] = set()
        self.removed: set[VirtualServer] = set()
        self.touched: dict[Pair, float] = {}
        self.zeroed: dict[Pair, float] = {}
        self.held: dict[Pair, Held] = {}
        for process in self.names:
            self._start_later(process)

    def disturb(self, seconds: float, recovery: float = 25.0) -> None:
        """Note a fault that lasts so long, after which the node may take a while to recover."""
        now = self.simulation.now
        if now >= self.disturbed_until:
            self.disturbed_since = now
        self.disturbed_until = max(self.disturbed_until, now + seconds + recovery)

    def process(self, number: int) -> Process | None:
        """Return a process by its number, if it lives."""
        process = self.processes[self.names[number % len(self.names)]]
        return process if process is not None and process.alive else None

    def tell_all(self, message: Reload | Confirm) -> None:
        """Pass a message of the supervisor to all actors."""
        for process in self.processes.values():
            if process is not None and process.alive:
                for actor in process.actors:
                    actor.actor_inbox.add(message)

    def kill(self, process: Process) -> None:
        """Kill a process; the supervisor restarts it."""
        process.kill()
        now = self.simulation.now
        self._exits.append(now)
        while self._exits[0] < now - PERIOD:
            self._exits.popleft()
        if len(self._exits) > INTENSITY:
            self.restart(gracefully=False)
        else:
            self._tries[process.name] += 1
            self._start_later(process.name, min(self.longest_delay, 0.1 * 2 ** min(self._tries[process.name], 6)))

    def pause(self, process: Process, seconds: float) -> None:
        """Stop a process for a while; the supervisor kills it if that is too long."""
        process.pause()

        def end() -> None:
            if process.alive and seconds > self.stuck:
                self.kill(process)
            else:
                process.resume()

        self.simulation.after(min(seconds, self.stuck + 1.0), end)

    def pause_all(self, seconds: float) -> None:
        """Stop the whole machine, supervisor included; nothing is killed for that."""
        for process in self.processes.values():
            if process is not None and process.alive:
                process.pause()
                self.simulation.after(seconds, process.resume)

    def restart(self, *, gracefully: bool, seconds: float = 1.0) -> None:
        """Stop all processes, and start them anew in so many seconds."""
        for name in reversed(self.names):
            process = self.processes[name]
            if process is not None and process.alive:
                (process.stop if gracefully else process.kill)()
            self.processes[name] = None
        self.down_until = self.simulation.now + seconds + RESTART
        self._exits.clear()
        self._tries = dict.fromkeys(self.names, 0)
        for name in self.names:
            self._start_later(name, seconds)

    def heal(self) -> None:
        """End all faults of the node."""
        self.disk.mend(self.simulation.now)
        self.kernel.refusing = self.kernel.losing = 0.0
        self.kernel.active.clear()
        self.links_cut = False
        self.link_delay = 1.0
        for process in self.processes.values():
            if process is not None and process.alive and process.paused:
                process.resume()

    def stop(self) -> None:
        """End all processes for good."""
        for name in self.names:
            process = self.processes[name]
            if process is not None:
                process.kill()
            self.processes[name] = Process(self.simulation, self, name)

    def failed(self, process: Process, error: Exception, text: str) -> None:
        """Note that an actor of the process failed, which nothing may cause."""
        self.world.violation(f"{self.name}: process {process.name} failed: {error!r}\n{text}")
        self.kill(process)

    def received(self, link: str, process: Process, messages: Sequence[Any]) -> None:
        """Tell the story of what the director has received of the configuration."""
        if link == "config" and process.name == "director":
            for message in messages:
                if isinstance(message, ValueIs):
                    what = "deleted" if message.value is None else "set"
                    self.world.story.detail(f"received: {escape(path_of(message.key))} {what}", self.name)

    def _start_later(self, name: str, seconds: float = 0.0) -> None:
        self._note_disk()
        if name == "config" and self.lost_at is not None and self.disk.is_behind(self.simulation.now):
            # nobody knows any more that the etcd is another one
            self.held = {pair: held for pair, held in self.held.items() if held.until != inf}
        process = Process(self.simulation, self, name)
        self.processes[name] = process
        process.later(seconds + START * 2 * self.simulation.random.random(), lambda: self._start(process))

    def _note_disk(self) -> None:
        if self.disk.is_behind(self.simulation.now):
            self.forgot_at = self.simulation.now  # records on it may be out of date, and are not believed

    def _start(self, process: Process) -> None:
        self._note_disk()
        host = Host(
            finish=lambda status: self.world.violation(f"{self.name}: finished with {status}"),
            flushed=lambda: None,
            links=None,
        )
        child_of(process.name, self.settings).start(self.settings, host)
