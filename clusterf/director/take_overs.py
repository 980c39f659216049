"""What real servers keep when backends that health knows nothing of take them over.

A service or a backend that gets another name, a VIP that moves, a node that starts: the real server is
the same, and has weight or has none for a reason. Backends without a verdict are in rotation as far as
its weight needs them, until verdicts say which of them are up. Backends without a check are out of
rotation for a while where verdicts took weight from it before.
"""

from collections.abc import Mapping
from typing import NamedTuple, Protocol

from clusterf.config.model import Name
from clusterf.director.rotation import Rotation
from clusterf.ipvs.table import RealServer, RealServerSettings, VirtualServer
from clusterf.lib.addresses import Endpoint

__all__ = ["InForce", "NothingInForce", "TakeOvers"]

Place = tuple[VirtualServer, RealServer]


class InForce(Protocol):
    """What is in force."""

    def settings(self, virtual: VirtualServer, real: RealServer) -> RealServerSettings | None:
        """Return the settings that a real server has in force; None: it is not, or that is not known."""

    def lapse(self, virtual: VirtualServer, real: RealServer) -> float:
        """Return for how many seconds verdicts that took weight from a real server count without a check."""


class NothingInForce:
    """What is in force if nothing is."""

    def settings(self, _virtual: VirtualServer, _real: RealServer) -> None:
        """Return None."""

    def lapse(self, _virtual: VirtualServer, _real: RealServer) -> float:
        """Return 0."""
        return 0.0


class _Loan(NamedTuple):
    """The weight that a real server had, which backends without a verdict make up for.

    `up`: the backends that were up when it was last looked at, None: it was not. A backend is known by
    where it is probed, as it has two names while it is renamed.
    """

    weight: int
    up: frozenset[Endpoint | Name] | None = None


class TakeOvers:
    """Real servers with other backends than before, until `end`, and those whose backends are not all known yet."""

    def __init__(self, in_force: InForce) -> None:
        self._in_force = in_force
        # real servers that have lost or not had a member in rotation, or whose virtual server has another owner
        self._taken_over: set[Place] = set()
        # those, and real servers that have lost another member
        self._changed_hands: set[Place] = set()
        self._loans: dict[Place, _Loan] = {}

    def change_hands(self, virtual: VirtualServer, real: RealServer) -> None:
        """Note that all backends at a real server are others."""
        self._taken_over.add((virtual, real))
        self._changed_hands.add((virtual, real))

    def lost(self, virtual: VirtualServer, real: RealServer, *, in_rotation: bool) -> None:
        """Note that a real server has lost a backend that was in rotation, or out of it."""
        self._changed_hands.add((virtual, real))
        if in_rotation:
            self._taken_over.add((virtual, real))

    def excuse(self, virtual: VirtualServer, real: RealServer) -> None:
        """Note that a verdict has taken weight from a real server: nobody is to stand in for that."""
        self._taken_over.discard((virtual, real))

    def lend(self, virtual: VirtualServer, real: RealServer, weight: int) -> None:
        """Have backends without a verdict make up for the weight that a real server had."""
        self._loans[virtual, real] = _Loan(weight)

    def forget(self, virtual: VirtualServer, real: RealServer) -> None:
        """Note that a real server has no backends."""
        self._loans.pop((virtual, real), None)

    def end(self) -> None:
        """Note that all changes were settled."""
        self._taken_over, self._changed_hands = set(), set()

    def settle(
        self,
        rotation: Rotation,
        service: Name,
        weights: Mapping[Name, int],
        virtual: VirtualServer,
        real: RealServer,
        now: float,
    ) -> None:
        """Put the backends at a real server, which have these weights, in or out of rotation, as far as that is due.

        They are in the order of their names. `now` is in seconds.
        """
        place = virtual, real
        lapse = self._in_force.lapse(*place) if place in self._changed_hands else 0.0
        unchecked = [name for name in weights if lapse and rotation.is_unchecked(service, name, virtual)]
        in_force = self._in_force.settings(*place) if unchecked or place in self._taken_over else None
        weight = 0
        for name in unchecked:
            if in_force is not None and weight < in_force.weight:
                weight += weights[name]
            elif rotation.in_rotation(service, name, virtual):
                rotation.suspend(service, name, virtual, now + lapse)
        if in_force is not None and place in self._taken_over:
            self.lend(virtual, real, in_force.weight)
        if place in self._loans:
            self._inherit(rotation, service, weights, place)

    def _inherit(self, rotation: Rotation, service: Name, weights: Mapping[Name, int], place: Place) -> None:
        """Have backends without a verdict in rotation as far as the weight that was lent needs them."""
        loan, virtual = self._loans.pop(place), place[0]
        counting = [name for name in weights if rotation.in_rotation(service, name, virtual)]
        unknown = [name for name in weights if rotation.is_undecided(service, name, virtual)]
        backends = {name: rotation.endpoint(service, name, virtual) or name for name in weights}
        # (with two names, it is the greater weight)
        weighs = {backends[name]: weights[name] for name in sorted(weights, key=lambda name: weights[name])}
        up = frozenset(backends[name] for name in counting if name not in unknown)
        # what has failed meanwhile is not made up for
        whole = loan.weight - sum(weighs.get(backend, 0) for backend in (loan.up or ()) if backend not in up)
        rest = whole - sum(weighs[backend] for backend in up)
        chosen, known = set(), set(up)
        for name in sorted(unknown, key=lambda name: (name not in counting, -weights[name])):
            if weights[name] <= rest and backends[name] not in known:
                chosen.add(name)
                known.add(backends[name])
                rest -= weights[name]
        if rest > 0 and (loan.up is None or not (up or chosen)):
            # their weights have changed, too: it is not to lose any
            chosen.update(sorted(set(unknown) - chosen, key=lambda name: (weights[name], name))[:1])
        for name in unknown:
            rotation.inherit(service, name, virtual, in_rotation=name in chosen and whole > 0)
        if unknown and len(weights) > 1:
            self._loans[place] = _Loan(whole, up)
