"""What must hold at each step that clusterf writes to a kernel, whatever has happened.

V1  A real server that works, has weight, and has been wanted all the time, keeps its weight.
V2  A virtual server that is wanted with real servers all the time is not emptied because these were
    replaced: those that work stay until others have weight, within a bound.
V3  A backend that was found failed gets no weight before it can have passed a probe.
V4  Nothing foreign is touched.
V5  What a wipe, or another etcd, would remove is held (as V1: it counts as wanted meanwhile).
V6  A backend that has failed for as long as its check takes to find that has no weight, also when another
    etcd lacks it.

A node may be behind: what it does now can follow from what was the case up to `LAG` seconds ago, or,
when it was disturbed by a fault, from what was the case before that. So each rule speaks of
what has been the case since that moment, the `horizon` of the node, without a break.
"""

from collections.abc import Iterable, Iterator
from math import inf
from typing import TYPE_CHECKING, NamedTuple

from clusterf.ipvs.table import Op, RealServerSettings, Step
from tests.sim.truth import Member, Pair

if TYPE_CHECKING:
    from tests.sim.node import Node
    from tests.sim.world import World

__all__ = ["LAG", "Held", "Judge", "horizon"]

LAG = 3.0
TORN = 0.5  # seconds in which the files of a change may be seen one by one
PROVEN = 30.0  # seconds for which a host has to be up, so that nothing is left of its last failure
BOUND = 1.5  # seconds for which replaced real servers stay at least, if nothing else has weight
FOUND = 10.0  # seconds until a failure that was found is in the table, at most
EARLIER = 5.0  # seconds by which the last good moment of a host has to be over, so that no success can be under way


class Held(NamedTuple):
    """A real server that counts as wanted `until` some time, although the configuration lacks it."""

    until: float
    since: float
    members: list[Member]


def horizon(node: "Node") -> float:
    """Return the moment of which the node's actions can be about at the earliest."""
    now = node.simulation.now
    return (node.disturbed_since if now < node.disturbed_until else now) - LAG


class Judge:
    """Judges each step of a node's director before it is done; `report` is called with what is wrong."""

    def __init__(self, world: "World") -> None:
        self._world = world

    def step(self, node: "Node", step: Step) -> None:
        """Judge a step, and note what it does."""
        self._world.story.step(node.name, step)
        if step.virtual in node.foreign and self._knows_only_old(node):
            node.foreign.discard(step.virtual)  # as one that exists becomes ours once it is configured
        elif step.virtual in node.foreign:
            self._report(node, step, "V4: a foreign virtual server is touched")
        match step.op:
            case Op.ADD_VIRTUAL | Op.EDIT_VIRTUAL:
                node.removed.discard(step.virtual)
            case Op.REMOVE_VIRTUAL:
                self._loses(node, step, [(step.virtual, real) for real in node.kernel.table.reals[step.virtual]])
                node.removed.add(step.virtual)
            case Op.REMOVE_REAL:
                self._loses(node, step, list(_pair(step)))
            case _ if isinstance(step.settings, RealServerSettings):
                pair = next(_pair(step))
                if not step.settings.weight:
                    self._loses(node, step, [pair])
                    node.zeroed.setdefault(pair, self._world.simulation.now)
                else:
                    self._gains(node, step, pair)
                    node.zeroed.pop(pair, None)
        for pair in _pair(step):
            node.touched.pop(pair, None)

    def _knows_only_old(self, node: "Node") -> bool:
        """Tell whether a copy of the source is all that the node has, and the copy may be out of date."""
        etcd = self._world.etcd
        away = self._world.tree.is_away or etcd.is_down or node.name in etcd.cut
        return away and node.forgot_at is not None

    def look(self, node: "Node") -> None:
        """Judge what is in the table of a node."""
        now = self._world.simulation.now
        if (
            now < max(node.disturbed_until, node.blind_until, node.down_until)
            or node.kernel.refusing
            or node.kernel.losing
        ):
            return
        for virtual, reals in node.kernel.table.reals.items():
            for real, settings in reals.items() if virtual not in node.foreign else ():
                pair = virtual, real
                if settings.weight and pair not in node.touched and self._has_failed(node, pair):
                    self._world.violation(f"{node.name}: V6: {real} has failed for long, and has weight", virtual)

    def _has_failed(self, node: "Node", pair: Pair) -> bool:
        """Tell whether a real server is wanted, and all backends there have failed for as long as they are checked."""
        now, truth, network = self._world.simulation.now, self._world.truth, self._world.network
        held, since = node.held.get(pair), truth.weighted_since.get(pair, now)
        members = truth.members.get(pair, [])
        if self._world.doubt and pair in self._world.doubted:
            return False  # what another etcd adds may go by routes that only the one before had
        if held is not None and held.until == inf and node.forgot_at is None:
            members, since = held.members, held.since
            present = {(m.service, m.backend) for others in truth.members.values() for m in others}
            if pair not in truth.members and not present.isdisjoint((m.service, m.backend) for m in members):
                return False  # they are elsewhere, and probed there: what is held of them is not
        for member in members:
            check = member.check
            if member.endpoint is None or check is None or check.panic_threshold:
                return False
            seconds = check.fall * (check.interval + check.timeout) + FOUND
            if since > now - seconds:
                return False
            if any(others != members for others in truth.versions(pair, now - seconds)):
                return False
            if network.up_since(member.endpoint) is not None or now - network.was_up(member.endpoint) < seconds:
                return False
        return bool(members)

    def _loses(self, node: "Node", step: Step, pairs: list[Pair]) -> None:
        if step.op is not Op.EDIT_REAL:
            for pair in pairs:
                node.zeroed.pop(pair, None)
        losing = [pair for pair in pairs if node.kernel.weight(*pair) and pair not in node.touched]
        if not losing:
            return
        left_over = node.kernel.weight(step.virtual) - sum(node.kernel.weight(*pair) for pair in losing)
        for pair in losing:
            if self._is_wanted(node, pair) and self._works(node, self._versions(node, pair)):
                self._report(node, step, f"V1: {pair[1]} works and is wanted, and loses its weight")
            elif not left_over and self._is_replaced(node, pair):
                self._report(node, step, f"V2: {pair[1]} works and is replaced, and {pair[0]} is left without weight")

    def _is_wanted(self, node: "Node", pair: Pair) -> bool:
        """Tell whether a real server has been wanted with weight since the node's horizon."""
        since = self._world.truth.weighted_since.get(pair)
        held = node.held.get(pair)
        if since is None and held is not None and self._world.simulation.now < held.until:
            since = held.since
        return since is not None and since <= horizon(node)

    def _is_replaced(self, node: "Node", pair: Pair) -> bool:
        """Tell whether a real server that works was replaced a moment ago, in a virtual server wanted all the time."""
        truth, now = self._world.truth, self._world.simulation.now
        filled, left = truth.filled_since.get(pair[0]), truth.left.get(pair)
        if filled is None or filled > horizon(node) or left is None or now - left[0] >= BOUND:
            return False
        if not any(virtual == pair[0] and since > left[0] - LAG for (virtual, _), since in truth.present_since.items()):
            return False  # it was removed, and those that stay were there before
        by_hand = any(virtual == pair[0] for virtual, _ in node.touched)
        return not by_hand and self._works(node, self._versions(node, pair))

    def _versions(self, node: "Node", pair: Pair) -> list[list[Member]]:
        """Return what the backends at a real server are and were, as far as that may have an effect."""
        return self._world.truth.versions(pair, horizon(node) - PROVEN)

    def _works(self, node: "Node", versions: Iterable[list[Member]]) -> bool:
        now, network = self._world.simulation.now, self._world.network
        if now < node.blind_until:
            return False
        for member in (member for members in versions for member in members):
            if member.endpoint is not None:
                up_since = network.up_since(member.endpoint)
                if up_since is None or up_since > horizon(node) - PROVEN:
                    return False
        return True

    def _gains(self, node: "Node", step: Step, pair: Pair) -> None:
        if self._world.simulation.now < self._world.tree.changed_at + TORN:
            return  # a service may be there without its check
        truth, network = self._world.truth, self._world.network
        zeroed, since = node.zeroed.get(pair), truth.weighted_since.get(pair)
        if zeroed is None or since is None or since > zeroed or node.kernel.weight(*pair) or pair in node.touched:
            return
        versions = truth.versions(pair, min(zeroed, horizon(node)) - PROVEN)
        for member in (member for members in versions for member in members):
            check = member.check
            if member.endpoint is None or check is None or check.initial == "up" or check.panic_threshold:
                return
            if network.was_up(member.endpoint) > min(zeroed, horizon(node)) - EARLIER or not member.settings.weight:
                return
        self._report(node, step, f"V3: {pair[1]} has failed and not passed since, and gets weight")

    def _report(self, node: "Node", step: Step, what: str) -> None:
        self._world.violation(f"{node.name}: {what}", step.virtual)


def _pair(step: Step) -> Iterator[Pair]:
    if step.real is not None:
        yield step.virtual, step.real
