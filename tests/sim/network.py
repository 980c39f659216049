"""The backends as probes find them, and since when."""

from collections.abc import Callable
from enum import Enum

from clusterf.health.authorities import Authorities
from clusterf.health.targets import Target
from clusterf.health.verdict import ProbeResult
from clusterf.lib.addresses import Endpoint
from tests.sim.process import Loop
from tests.sim.simulation import Simulation

__all__ = ["Host", "Network", "Prober", "State"]

SHORT, LONG = 0.002, 0.8  # seconds; shorter than every check's timeout

UNSERVED = 9999
"""A port at which no backend listens."""


class State(Enum):
    """How a host answers."""

    UP = "up"
    REFUSING = "refusing"
    BLACKHOLED = "blackholed"
    SLOW = "slow"
    FLAPPING = "flapping"


class Host:
    """One machine with backends on it."""

    def __init__(self, latency: float) -> None:
        self.state = State.UP
        # seconds within which it answers, at most
        self.latency = latency
        # since when it is up without a break; None: it is not
        self.up_since: float | None = 0.0
        # when it was up last
        self.was_up = 0.0


class Network:
    """All hosts by address, created up when they are first named. From nodes in `cut` no host is reached."""

    def __init__(self, simulation: Simulation) -> None:
        self.simulation = simulation
        self.cut: set[str] = set()
        self._hosts: dict[bytes, Host] = {}

    def host(self, packed: bytes) -> Host:
        """Return the host at an address."""
        if packed not in self._hosts:
            # some take so long that others have to serve until they are proven
            self._hosts[packed] = Host(LONG if self.simulation.random.random() < 0.25 else SHORT)
        return self._hosts[packed]

    def put(self, packed: bytes, state: State) -> None:
        """Have a host answer like that from now on."""
        host, now = self.host(packed), self.simulation.now
        if host.state is State.UP or host.state is State.FLAPPING:
            host.was_up = now
        host.up_since = (host.up_since if host.state is State.UP else now) if state is State.UP else None
        host.state = state

    def recover(self) -> None:
        """Have all hosts up."""
        for packed in self._hosts:
            self.put(packed, State.UP)

    def up_since(self, at: Endpoint) -> float | None:
        """Return since when probes of an endpoint pass without a break; None: they do not."""
        return None if at.port == UNSERVED else self.host(at.packed).up_since

    def was_up(self, at: Endpoint) -> float:
        """Return when a probe of an endpoint could have passed last."""
        if at.port == UNSERVED:
            return 0.0
        host = self.host(at.packed)
        return host.was_up if host.state not in {State.UP, State.FLAPPING} else self.simulation.now


class Prober:
    """Probes in the simulated network, from one node."""

    def __init__(self, network: Network, node: str, loop: Loop) -> None:
        self._network = network
        self._node = node
        self._loop = loop
        self._closed = False

    def start(self, target: Target, done: Callable[[ProbeResult], None]) -> None:
        """Start a probe; `done` is called with its result."""
        host, chance = self._network.host(target.endpoint.packed), self._network.simulation.random.random()
        state = State.REFUSING if target.endpoint.port == UNSERVED else host.state
        if self._node in self._network.cut:
            state = State.BLACKHOLED
        match state:
            case State.UP:
                seconds, result = host.latency * chance, ProbeResult(True, "", 0.001)
            case State.REFUSING:
                seconds, result = SHORT * chance, ProbeResult(False, "refused", 0.001)
            case State.FLAPPING if chance < 0.5:
                seconds, result = SHORT, ProbeResult(True, "", 0.001)
            case _:
                seconds, result = target.check.timeout, ProbeResult(False, "timeout", target.check.timeout)
        self._loop.call_later(seconds, self._finish, done, result)

    def set_authorities(self, path: str, authorities: Authorities | None) -> None:
        """Do nothing: no backend has TLS."""

    def close(self) -> None:
        """Abandon all probes."""
        self._closed = True

    def _finish(self, done: Callable[[ProbeResult], None], result: ProbeResult) -> None:
        if not self._closed:
            done(result)
