"""What the configuration is, as its owner means it, and since when: the measure of all invariants.

Computed from scratch at each change, by rules as simple as possible; with single
placements from `clusterf.director`, which other tests cover.
"""

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import NamedTuple

from msgspec.structs import replace

from clusterf.config.decode import decode
from clusterf.config.keys import parse_key
from clusterf.config.model import (
    Backend,
    BackendKey,
    Frontend,
    FrontendKey,
    HealthCheck,
    HealthKey,
    Route,
    RouteKey,
    VipKey,
    VipRule,
)
from clusterf.config.model import Value as ConfigValue
from clusterf.director.merger import merged
from clusterf.health.targets import endpoint
from clusterf.ipvs.table import RealServer, RealServerSettings, Table, VirtualServer, VirtualServerSettings
from clusterf.lib.addresses import Endpoint, Family
from clusterf.resolve.placement import place
from clusterf.resolve.routes import RouteTable
from clusterf.resolve.virtual_servers import Defaults, virtual_servers
from tests.sim.network import Network

__all__ = ["Member", "Pair", "Truth"]

Pair = tuple[VirtualServer, RealServer]
VERSIONS = 50  # of a real server that are remembered
MEMORY = 600.0  # seconds for which real servers are remembered that are wanted no longer


class Member(NamedTuple):
    """One backend at a real server; endpoint None: it is not probed.

    `check` is the one in force, with the `panic_threshold` and `on_down` of its service.
    """

    service: bytes
    backend: bytes
    settings: RealServerSettings
    endpoint: Endpoint | None
    check: HealthCheck | None


class Truth:
    """The configuration in force, what it wants, and since when it wants it."""

    def __init__(self) -> None:
        self._values: dict[bytes, ConfigValue] = {}
        self.virtuals: dict[VirtualServer, VirtualServerSettings] = {}
        self.members: dict[Pair, list[Member]] = {}
        # since when a real server is wanted, with or without weight
        self.present_since: dict[Pair, float] = {}
        # since when a real server is wanted with weight without a break, and a virtual server with any
        self.weighted_since: dict[Pair, float] = {}
        self.filled_since: dict[VirtualServer, float] = {}
        # since when a virtual server is claimed, whatever is held
        self.claimed_since: dict[VirtualServer, float] = {}
        # when a real server ceased to be wanted, and how it was probed then
        self.left: dict[Pair, tuple[float, list[Member]]] = {}
        # what the backends at each real server were, and from when on; the last entry is in force, or was the last one
        self._versions: dict[Pair, list[tuple[float, list[Member]]]] = {}
        self.last_wanted: dict[VirtualServer, float] = {}
        self.ever: set[VirtualServer] = set()

    def commit(self, changes: Mapping[bytes, bytes | None], now: float) -> None:
        """Change the configuration; values that are invalid change nothing."""
        for path, raw in changes.items():
            key = parse_key(path)
            if raw is None:
                self._values.pop(path, None)
            elif key is not None and (value := decode("", path, key, raw).value) is not None:
                self._values[path] = value
        before, virtuals = self.members, self.virtuals
        self._compute()
        self.last_wanted.update(dict.fromkeys(virtuals, now))
        self._note(before, now)

    def values(self) -> dict[bytes, ConfigValue]:
        """Return the objects in force, to be put back by `restore`."""
        return dict(self._values)

    def restore(self, values: Mapping[bytes, ConfigValue], now: float) -> None:
        """Put back all objects as they were."""
        self._values = dict(values)
        self.commit({}, now)

    def versions(self, pair: Pair, since: float) -> list[list[Member]]:
        """Return what the backends at a real server were at any time since then."""
        versions = self._versions.get(pair, [])
        ends = [at for at, _ in versions[1:]] + [float("inf")]
        return [members for (_, members), end in zip(versions, ends, strict=True) if end >= since]

    def removed_by(self, changes: Mapping[bytes, bytes | None], now: float) -> dict[Pair, list[Member]]:
        """Return what would no longer be wanted with weight after these changes."""
        other = Truth()
        other._values = dict(self._values)
        other.commit(changes, now)
        return {pair: members for pair, members in self.members.items() if _weight(members) and not other.weight(pair)}

    def weight(self, pair: Pair) -> int:
        """Return the weight that the configuration gives a real server."""
        return _weight(self.members.get(pair, []))

    def expected(self, network: Network) -> Table:
        """Return the table that is right once everything is known."""
        table = Table()
        for virtual, settings in self.virtuals.items():
            table.put_virtual(virtual, settings)
        panicking = self._panicking(network)
        for (virtual, real), members in self.members.items():
            live = [
                m.endpoint is None
                or network.up_since(m.endpoint) is not None
                or (m.service, virtual.family) in panicking
                for m in members
            ]
            removes = members[0].check is not None and members[0].check.on_down == "remove"
            if not removes or any(live):
                table.put_real(virtual, real, merged([m.settings for m in members], live))
        return table

    def _panicking(self, network: Network) -> set[tuple[bytes, Family]]:
        probed: dict[tuple[bytes, Family], dict[bytes, bool]] = {}
        thresholds: dict[bytes, float] = {}
        for (virtual, _), members in self.members.items():
            for member in members:
                if member.endpoint is not None and member.check is not None:
                    up = network.up_since(member.endpoint) is not None
                    probed.setdefault((member.service, virtual.family), {})[member.backend] = up
                    thresholds[member.service] = member.check.panic_threshold
        return {
            (service, family)
            for (service, family), up in probed.items()
            if sum(up.values()) * 100 < thresholds[service] * len(up)
        }

    def _compute(self) -> None:
        frontends: dict[bytes, Frontend] = {}
        backends: dict[bytes, dict[bytes, Backend]] = {}
        checks: dict[bytes | None, HealthCheck] = {}
        routes = RouteTable()
        rules: list[VipRule] = []
        for path in sorted(self._values):
            match parse_key(path), self._values[path]:
                case FrontendKey(service), Frontend() as frontend:
                    frontends[service] = frontend
                case BackendKey(service, name), Backend() as backend:
                    backends.setdefault(service, {})[name] = backend
                case HealthKey(service), HealthCheck() as check:
                    checks[service] = check
                case RouteKey(name), Route() as route:
                    routes.put(name, route)
                case VipKey(), VipRule() as rule:
                    rules.append(rule)
        self.virtuals, self.members = {}, {}
        defaults = Defaults()
        for service in sorted(frontends):
            frontend, of_service = frontends[service], checks.get(service) or checks.get(None)
            for virtual, spec in virtual_servers(frontend, defaults):
                if virtual in self.virtuals or _is_forbidden(rules, service, virtual):
                    continue  # the lowest name owns it of those that may
                self.virtuals[virtual] = spec.settings
                self.ever.add(virtual)
                for name, backend in sorted(backends.get(service, {}).items()):
                    address = backend.address(virtual.family)
                    placed = address and place(virtual, frontend, backend, routes.lookup(address), defaults).real
                    if placed:
                        check = _check(backend, checks.get(service), of_service)
                        at = endpoint(frontend, backend, check, virtual.family)
                        member = Member(service, name, placed[1], at, check if at is not None else None)
                        self.members.setdefault((virtual, placed[0]), []).append(member)

    def _note(self, before: Mapping[Pair, list[Member]], now: float) -> None:
        weighted = {pair for pair, members in self.members.items() if _weight(members)}
        _keep(self.present_since, set(self.members), now)
        _keep(self.weighted_since, weighted, now)
        _keep(self.claimed_since, set(self.virtuals), now)
        _keep(self.filled_since, {virtual for virtual, _ in weighted}, now)
        for pair, members in before.items():
            if pair not in self.members:
                self.left[pair] = now, members
        for pair, members in self.members.items():
            self.left.pop(pair, None)
            if before.get(pair) != members:
                versions = self._versions.setdefault(pair, [])
                versions.append((now, members))
                if len(versions) > VERSIONS:
                    del versions[0]
        self.left = {pair: left for pair, left in self.left.items() if now - left[0] < MEMORY}


def _check(backend: Backend, service: HealthCheck | None, otherwise: HealthCheck | None) -> HealthCheck | None:
    """Return how a backend is checked: `service` is the check of its service, `otherwise` that or the default."""
    own = backend.health
    if own is None or (own.origin == "label" and service is not None):
        return otherwise
    rules = otherwise or HealthCheck()
    return replace(own.check, panic_threshold=rules.panic_threshold, on_down=rules.on_down)


def _is_forbidden(rules: Iterable[VipRule], service: bytes, virtual: VirtualServer) -> bool:
    lengths: dict[int, bool] = {}
    for rule in rules:
        if virtual.address is not None and rule.prefix is not None and virtual.address in rule.prefix:
            allows = any(fnmatchcase(service.decode(), pattern) for pattern in rule.services)
            lengths[rule.prefix.prefixlen] = allows or lengths.get(rule.prefix.prefixlen, False)
    return bool(lengths) and not lengths[max(lengths)]


def _weight(members: Iterable[Member]) -> int:
    return sum(member.settings.weight for member in members)


def _keep(since: dict, present: set, now: float) -> None:  # type: ignore[type-arg]
    for gone in since.keys() - present:
        del since[gone]
    for key in present:
        since.setdefault(key, now)
