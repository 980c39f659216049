"""A simulated world: a source of configuration, a network of backends, and nodes; and its owner's hand in it."""

import copy
from collections import deque
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from math import inf
from pathlib import Path
from typing import NamedTuple

from actors.base.messages import Confirm
from actors.settings import Settings
from clusterf.config.model import Value
from clusterf.etcd.location import EtcdLocation
from clusterf.health.probe_policy import DENIED, METHODS
from clusterf.ipvs.table import Method, Op, ServiceFlag, Step, VirtualServer, VirtualServerSettings
from clusterf.sources.url import Source
from tests.actors.support.some_settings import some_settings
from tests.sim.edits import EDITS, add_service
from tests.sim.etcd import Etcd
from tests.sim.faults import FAULTS
from tests.sim.invariants import Held, Judge, horizon
from tests.sim.network import Network
from tests.sim.node import Node
from tests.sim.operator import Configuration, render
from tests.sim.script import HOW, Event, Script
from tests.sim.simulation import Simulation
from tests.sim.story import Story
from tests.sim.tree import Tree
from tests.sim.truth import Pair, Truth

__all__ = ["Violation", "World"]

LOOK = 2.0  # seconds
WRITING = ("in place", "anew", "rename")


class Violation(NamedTuple):
    """What was wrong, when, and with which virtual server."""

    at: float
    what: str
    virtual: VirtualServer | None

    @property
    def rule(self) -> str:
        """The name of the rule."""
        return self.what.split(": ")[1][:60].partition(":")[0]


class World:
    """The world of one script, in `folder`, which is on a fast disk."""

    plain = VirtualServerSettings("rr", ServiceFlag(0), 0, 0xFFFFFFFF)
    masq = Method.MASQ

    def __init__(self, script: Script, folder: Path, *, detailed: bool = False) -> None:
        self.script = script
        self.simulation = Simulation(script.seed)
        self.story = Story(self.simulation, detailed=detailed)
        self.truth = Truth()
        self.network = Network(self.simulation)
        self.etcd = Etcd(self.simulation)
        self.tree = Tree(self.simulation, folder / "tree")
        self.configuration = Configuration(default_check=script.check)
        self.violations: list[Violation] = []
        # the etcd is another one, or older, and that is not confirmed; the real servers that it adds
        self.doubt = False
        self.doubted: AbstractSet[Pair] = set()
        # when the operator confirmed something last: what is done before nodes have read it is confirmed, too
        self._confirmed_at = -inf
        # when a real server that was held was put back
        self._restored: dict[Pair, float] = {}
        self.edits = self.faults = 0
        self._last_put = 0.0
        # when each key was changed last
        self.put_at: dict[bytes, float] = {}
        self._snapshots: deque[tuple[dict[bytes, bytes], int]] = deque(maxlen=12)
        self._wiped: Configuration | None = None
        self._before: dict[bytes, Value] = {}
        self._populate(script)
        self.put(render(self.configuration))
        self._judge = judge = Judge(self)
        self.nodes = [
            Node(self, f"node{number}", folder / f"state{number}", self._settings, judge.step)
            for number in range(1, script.nodes + 1)
        ]

    def _populate(self, script: Script) -> None:
        for slot in range(script.services):
            add_service(self.configuration, slot, slot * 5)

    def everyone(self) -> list[Node]:
        """Return all nodes, with those that are none of a director."""
        return self.nodes

    def judge_end(self) -> None:
        """Judge what is left when all faults have been over for long."""

    def look(self) -> None:
        """Judge the tables of all nodes, every few seconds from now on."""
        for node in self.nodes:
            self._judge.look(node)
        self.simulation.after(LOOK, self.look)

    @property
    def contents(self) -> dict[bytes, bytes]:
        """What the source holds."""
        return self.tree.contents if self.script.source == "tree" else self.etcd.contents

    def happen(self, event: Event) -> None:
        """Let an event happen."""
        self.story.add(f"{event.kind}({event.first}, {event.second}, {event.third})", "EVENT")
        if event.kind == "restore":
            self._restore()
        elif event.kind in EDITS:
            self.edits += 1
            self._edit(event)
        else:
            self.faults += 1
            FAULTS[event.kind][1](self, event.first, event.second)

    def disturb(self, seconds: float, recovery: float = 25.0) -> None:
        """Note a fault of all nodes."""
        for node in self.nodes:
            node.disturb(seconds, recovery)

    def put(self, changes: Mapping[bytes, bytes | None], how: int = 0) -> None:
        """Change keys of the source at once; nothing happens while it is away."""
        changes = {path: value for path, value in changes.items() if self.contents.get(path) != value}
        if not changes or self.doubt or self.etcd.is_down or self.tree.is_away:
            return
        now = self.simulation.now
        if self.script.source == "tree":
            self.tree.change(changes, WRITING[how % 3])
            self.story.detail(f"files changed: {len(changes)}", "operator")
        else:
            self.etcd.transact(changes)
            self._snapshots.append((dict(self.contents), self.etcd.revision))
        self._hold(changes, now)
        self._commit(changes)
        self._last_put = now
        self.put_at.update(dict.fromkeys(changes, now))

    def confirm(self) -> None:
        """Have the operator confirm what is held."""
        self._confirmed_at = self.simulation.now
        self.doubt = False
        self.etcd.before = None
        for pair, at in self._restored.items():
            # what no node can have read before it is confirmed is confirmed, too
            if pair in self.truth.weighted_since and any(at > horizon(node) for node in self.nodes):
                self.truth.weighted_since[pair] = self.simulation.now
        for node in self.nodes:
            node.held.clear()
            node.tell_all(Confirm())

    def replace_etcd(self, *, older: bool) -> None:
        """Have another etcd, which is empty, behind the name; or the same one as it was some time ago."""
        if self.script.source == "tree" or self.doubt or self.etcd.is_down or not self._snapshots:
            return
        contents, revision = self._snapshots[0] if older else ({}, 1)
        changes = {path: contents.get(path) for path in self.contents.keys() | contents.keys()}
        now, since = self.simulation.now, dict(self.truth.weighted_since)
        removed = self.truth.removed_by(changes, now)
        for node in self.nodes:
            node.held |= {pair: Held(float("inf"), since[pair], members) for pair, members in removed.items()}
        self.disturb(15.0)
        self._before = self.truth.values()
        self.etcd.replace(contents, revision, self.etcd.cluster if older else self.etcd.cluster + 1)
        before = self.truth.members
        self._commit(changes)
        self.doubt, self.doubted = True, self.truth.members.keys() - before.keys()

    def return_etcd(self) -> None:
        """Have the etcd of before behind the name."""
        if not self.doubt:
            return
        self.disturb(15.0)
        self.etcd.return_to_before()
        self.truth.restore(self._before, self.simulation.now)
        self._commit({})
        self.doubt = False

    def by_hand(self, node: Node, step: Step) -> None:
        """Do a step in a kernel as somebody else."""
        now = self.simulation.now
        is_new = step.virtual not in node.kernel.table.virtuals
        reals = [step.real] if step.real is not None else list(node.kernel.table.reals.get(step.virtual, ()))
        if not node.kernel.by_hand(step):
            return
        self.story.step(f"{node.name}, by hand", step)
        for real in reals:
            node.touched[step.virtual, real] = now
            node.zeroed.pop((step.virtual, real), None)
        gone_for = now - self.truth.last_wanted.get(step.virtual, 0.0)
        calm = now >= node.disturbed_until and now - gone_for < horizon(node)
        if step.op is Op.ADD_VIRTUAL:
            node.made_by_hand.add(step.virtual)
        if step.op is Op.ADD_VIRTUAL and is_new and calm and step.virtual in node.removed:
            node.foreign.add(step.virtual)
        if step.op is Op.REMOVE_VIRTUAL:
            node.foreign.discard(step.virtual)

    def violation(self, what: str, virtual: VirtualServer | None = None) -> None:
        """Note that something is wrong."""
        self.violations.append(Violation(self.simulation.now, what, virtual))
        self.story.add(what, "VIOLATION")

    def heal(self) -> None:
        """End all faults."""
        simulation, network, etcd = self.simulation, self.network, self.etcd
        etcd.is_down = False
        etcd.cut.clear()
        network.cut.clear()
        network.recover()
        self.tree.bring_back()
        simulation.wall_step = 0.0
        for node in self.nodes:
            node.heal()
        self.return_etcd()

    def _edit(self, event: Event) -> None:
        if self.doubt or self.etcd.is_down or self.tree.is_away:
            return
        if event.kind == "wipe":
            self._wiped = copy.deepcopy(self.configuration)
        EDITS[event.kind][1](self.configuration, event.first, event.second)
        wanted = render(self.configuration)
        changes: dict[bytes, bytes | None] = dict(wanted)
        changes |= dict.fromkeys(self.contents.keys() - wanted.keys())
        match HOW[event.third % 3]:
            case "at once":
                self.put(changes, event.second)
            case "additions first":
                self.put(wanted, event.second)
                self.simulation.after(0.5, self._tidy)
            case _:
                new = sorted((p, value) for p, value in wanted.items() if self.contents.get(p) != value)
                for number, (path, value) in enumerate(new):
                    self._put_later(number, path, value, event.second)
                self.simulation.after(0.5, self._tidy)

    def _put_later(self, number: int, path: bytes, value: bytes, how: int) -> None:
        def put() -> None:
            if render(self.configuration).get(path) == value:
                self.put({path: value}, how)

        self.simulation.after(0.02 * number, put)

    def _tidy(self) -> None:
        self.put(dict.fromkeys(self.contents.keys() - render(self.configuration).keys()))

    def _restore(self) -> None:
        if self._wiped is not None and not self.configuration.services:
            self.configuration, self._wiped = self._wiped, None
            self.put(render(self.configuration))

    def _commit(self, changes: Mapping[bytes, bytes | None]) -> None:
        truth, now = self.truth, self.simulation.now
        truth.commit(changes, now)
        for node in getattr(self, "nodes", ()):
            node.foreign -= truth.virtuals.keys()
            for pair, held in list(node.held.items()):
                if pair in truth.weighted_since and now < held.until:
                    truth.weighted_since[pair] = min(truth.weighted_since[pair], held.since)
                    self._restored[pair] = now
                if pair in truth.weighted_since or pair[0] in truth.virtuals:
                    del node.held[pair]

    def _hold(self, changes: Mapping[bytes, bytes | None], now: float) -> None:
        """Note what has to be held on each node of what these changes remove."""
        if None not in changes.values():
            return
        removed, since = self.truth.removed_by(changes, now), self.truth.weighted_since
        for node in getattr(self, "nodes", ()):
            calm = now >= node.disturbed_until and now - self._last_put > 1.0 and now - self._confirmed_at > 1.0
            if calm and _is_wipe(node, removed):
                until = now + self.script.removal_hold - 1.0
                node.held |= {pair: Held(until, since[pair], members) for pair, members in removed.items()}

    def _settings(self, folder: Path) -> Settings:
        if self.script.source == "tree":
            source = Source(f"file://{self.tree.root}", tree=str(self.tree.root))
        else:
            source = Source(
                "etcd://a,b/clusterf", etcd=EtcdLocation(endpoints=("a:2379", "b:2379"), prefix=b"/clusterf/")
            )
        settings: Settings = some_settings(
            roles=("ipvs",),
            sources=(source,),
            state_dir=str(folder),
            runtime_dir=str(folder.with_name(f"run of {folder.name}") / "clusterf"),
            ipvs_scheduler="wlc",
            removal_hold=self.script.removal_hold,
            hold_share=50.0,
            hold_least=10,
            resync_interval=60.0,
            stuck_timeout=30.0,
            vip_interface=None,
            health_deny=DENIED,
            health_methods=METHODS,
        )
        return settings


def _is_wipe(node: Node, removed: Mapping[Pair, object]) -> bool:
    """Tell whether a removal is of most of what the node has in force, and so has to be held."""
    in_force = {
        (virtual, real): settings.weight
        for virtual, reals in node.kernel.table.reals.items()
        for real, settings in reals.items()
        if settings.weight and virtual not in node.foreign
    }
    leaving = sum(weight for pair, weight in in_force.items() if pair in removed)
    several = len({virtual for virtual, _ in removed}) > 1
    return len(in_force) >= 10 and several and leaving > 0.55 * sum(in_force.values())
