"""A simulated Docker host: an engine, and the node beside it that publishes its containers."""

from collections.abc import Callable
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING

from actors.settings import Settings
from actors.supervision.policy import Policy
from tests.sim.hosts.engine import Engine
from tests.sim.node import Node
from tests.sim.process import Process

if TYPE_CHECKING:
    from tests.sim.hosts.world import DockerWorld

__all__ = ["Host"]

SOON = 1.0  # seconds within which a fault makes unclear whether a signal was seen


class Host(Node):
    """A node with the docker role only, beside `engine`."""

    world: "DockerWorld"

    def __init__(
        self, world: "DockerWorld", name: str, folder: Path, settings: Callable[[Path], Settings], engine: Engine
    ) -> None:
        self.engine = engine
        # when it could not keep its lease: from, and until
        self._unfit: list[list[float]] = [[world.simulation.now, inf]]
        super().__init__(world, name, folder, settings, lambda *_: None, names=("docker",))
        policy = Policy(stuck_timeout=self.settings.stuck_timeout).within(self.settings.etcd_ttl)
        self.stuck, self.longest_delay = policy.stuck_timeout + policy.dump_time, policy.longest_delay

    def disturb(self, seconds: float, recovery: float = 25.0) -> None:
        """Note a fault, which all who read what this host publishes may notice."""
        super().disturb(seconds, recovery)
        for node in self.world.nodes:
            node.disturb(seconds, recovery)
        self.world.doubt_signals(self, since=self.simulation.now - SOON)

    @property
    def is_calm(self) -> bool:
        """Whether nothing is wrong with it, nor was a moment ago."""
        return self.simulation.now >= self.disturbed_until

    @property
    def is_fit(self) -> bool:
        """Whether nothing keeps it from publishing now."""
        return not any(begin <= self.simulation.now < end for begin, end in self._unfit)

    @property
    def is_running(self) -> bool:
        """Whether its docker process runs, or is stopped for a while."""
        return all(end != inf for _, end in self._unfit)

    def unfit(self, seconds: float) -> None:
        """Note that it cannot keep its lease for so long."""
        now = self.simulation.now
        self._unfit.append([now, now + seconds])
        self.world.observer.excuse_absent(self)

    def was_fit(self, since: float, seconds: float) -> bool:
        """Tell whether it could keep its lease for so many seconds at a stretch, at any time since then."""
        at = since
        for begin, end in sorted(self._unfit):
            if begin - at >= seconds:
                return True
            at = max(at, end)
        return self.simulation.now - at >= seconds

    def kill(self, process: Process) -> None:
        """Kill a process; the supervisor restarts it."""
        self._is_gone()
        super().kill(process)

    def pause(self, process: Process, seconds: float) -> None:
        """Stop a process for a while."""
        super().pause(process, seconds)

    def pause_all(self, seconds: float) -> None:
        """Stop the machine, but not the engine's clock."""
        self.unfit(seconds)
        super().pause_all(seconds)

    def restart(self, *, gracefully: bool, seconds: float = 1.0) -> None:
        """Stop the node, and start it anew."""
        self._is_gone()
        super().restart(gracefully=gracefully, seconds=seconds)

    def _is_gone(self) -> None:
        if self.is_running:
            self._unfit.append([self.simulation.now, inf])
        self.world.observer.excuse_absent(self)

    def _start(self, process: Process) -> None:
        for stretch in self._unfit:
            stretch[1] = min(stretch[1], max(self.simulation.now, stretch[0])) if stretch[1] == inf else stretch[1]
        super()._start(process)

    def _note_disk(self) -> None:
        super()._note_disk()
        if self.forgot_at == self.simulation.now:
            self.world.forget(self)
