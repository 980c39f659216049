"""What to probe: the targets that the backends of checked services make.

A backend is probed at its own address, one endpoint for each family that its
frontend has. Both ends of the verdicts' way need this: who probes, and who
has to know which verdict counts for which real server.

`Targets` is told single objects of the configuration by key and answers with
what became of the backends concerned, so that one changed backend costs one
target, a changed check its service, and a changed default check the services
that have none of their own. Backends that are probed alike share a target.
"""

import zlib
from collections import OrderedDict
from collections.abc import Collection
from typing import NamedTuple

import msgspec

from clusterf.config.model import Backend, BackendKey, Frontend, FrontendKey, HealthCheck, HealthKey, Key, Name, Value
from clusterf.lib.addresses import Endpoint, Family, Protocol
from clusterf.lib.mapping import put

__all__ = ["Change", "Target", "Targets", "endpoint", "families", "probed", "shard_of"]


class Target(msgspec.Struct, frozen=True, gc=False, cache_hash=True):
    """One thing to be probed, however many backends it stands for: an endpoint, and how.

    `check` is as `probed` returns it, so that checks which probe alike are equal.
    """

    endpoint: Endpoint
    check: HealthCheck


def probed(check: HealthCheck, family: Family) -> HealthCheck:
    """Return `check` without what makes no difference to the probes of an endpoint of that family.

    That is the effect of a verdict, the port, which the endpoint has, and the
    other family's source.
    """
    plain = HealthCheck()
    four = family is Family.IPV4
    return msgspec.structs.replace(
        check,
        port=plain.port,
        source4=check.source4 if four else None,
        source6=None if four else check.source6,
        panic_threshold=plain.panic_threshold,
        on_down=plain.on_down,
    )


def families(frontend: Frontend) -> tuple[Family, ...]:
    """Return the families of the virtual servers that `frontend` names."""
    addresses = [address for address in (frontend.ipv4, frontend.ipv6) if address is not None]
    if frontend.fwmark is not None and not addresses:
        return (Family.IPV4,)
    named = frontend.fwmark is not None or any(frontend.port(protocol) is not None for protocol in Protocol)
    return tuple(map(Family.of, addresses)) if named else ()


def endpoint(frontend: Frontend, backend: Backend, check: HealthCheck | None, family: Family) -> Endpoint | None:
    """Return where `backend` is probed for the virtual servers of `family`; None: it is not.

    That is so without a check, or one of the type `none`, without an address
    of the family, and where neither the check nor the backend names a TCP port
    (a service of UDP or SCTP alone has a check that names one; one that is
    told by its mark alone may be of TCP).
    """
    address = backend.ipv4 if family is Family.IPV4 else backend.ipv6
    if check is None or check.type == "none" or address is None:
        return None
    tcp = frontend.tcp is not None or all(frontend.port(protocol) is None for protocol in Protocol)
    port = check.port or (backend.tcp if tcp else None)
    return Endpoint(address.packed, port) if port is not None else None


def shard_of(at: Endpoint, shards: int) -> int:
    """Return which of so many processes probes the endpoint: the same one in every run."""
    return zlib.crc32(at.packed + at.port.to_bytes(2)) % shards


class Change(NamedTuple):
    """For a family of a backend's addresses, `before` is probed no more, and `after` is instead; None: nothing.

    `inherits`: it is the same backend, at the same address and port, that is
    probed another way, so that what was found out before still counts.
    """

    key: BackendKey
    before: Target | None
    after: Target | None
    inherits: bool


class Targets:
    """The targets of one shard, kept as the configuration changes; `flush` tells what became of them."""

    def __init__(self, shard: int = 0, shards: int = 1) -> None:
        self._shard = shard
        self._shards = shards
        self._frontends: dict[Name, Frontend] = {}
        self._backends: dict[Name, dict[Name, Backend]] = {}
        # by service, and with None the default
        self._checks: dict[Name | None, HealthCheck] = {}
        # as what each backend that is probed was last told
        self._told: dict[BackendKey, tuple[Backend, dict[Family, Target]]] = {}
        self._stands_for: dict[Target, dict[BackendKey, None]] = {}
        # what has changed since it was last told
        self._dirty_services: dict[Name, None] = {}
        self._dirty_backends: OrderedDict[BackendKey, None] = OrderedDict()

    @property
    def pending(self) -> bool:
        """Whether there may be changes that `flush` has not told."""
        return bool(self._dirty_services or self._dirty_backends)

    def backends(self, target: Target) -> Collection[BackendKey]:
        """Return the backends that `target` stands for, as they were last told; none: nobody needs it."""
        return self._stands_for.get(target, {}).keys()

    def __len__(self) -> int:
        """Return how many targets there are."""
        return len(self._stands_for)

    def update(self, key: Key, value: Value | None) -> None:
        """Take `value` for what `key` is now, None: it is no more."""
        match key:
            case FrontendKey(service):
                assert value is None or isinstance(value, Frontend)
                if put(self._frontends, service, value):
                    self._dirty_services[service] = None
            case HealthKey(service):
                assert value is None or isinstance(value, HealthCheck)
                if put(self._checks, service, value):
                    concerned = [s for s in self._backends if s not in self._checks] if service is None else [service]
                    self._dirty_services.update(dict.fromkeys(concerned))
            case BackendKey(service, backend):
                assert value is None or isinstance(value, Backend)
                siblings = self._backends.setdefault(service, {})
                if put(siblings, backend, value):
                    self._dirty_backends[key] = None
                if not siblings:
                    del self._backends[service]

    def flush(self, most: int) -> list[Change]:
        """Return what became of at most so many backends of those that are concerned by what has changed."""
        for service in self._dirty_services:
            for backend in self._backends.get(service, ()):
                self._dirty_backends[BackendKey(service, backend)] = None
        self._dirty_services = {}
        changes: list[Change] = []
        for _ in range(min(most, len(self._dirty_backends))):
            key, _ = self._dirty_backends.popitem(last=False)
            changes += self._settle(key)
        return changes

    def _settle(self, key: BackendKey) -> list[Change]:
        backend = self._backends.get(key.service, {}).get(key.backend)
        now = self._targets_of(key.service, backend) if backend is not None else {}
        old, before = self._told.pop(key, (None, {}))
        if backend is not None and now:
            self._told[key] = backend, now
        changes = []
        for family in Family:
            was, becomes = before.get(family), now.get(family)
            if was != becomes:
                self._move(key, was, becomes)
                inherits = was is not None and becomes is not None and _own(old, family) == _own(backend, family)
                changes.append(Change(key, was, becomes, inherits))
        return changes

    def _targets_of(self, service: Name, backend: Backend) -> dict[Family, Target]:
        frontend = self._frontends.get(service)
        check = self._checks.get(service) or self._checks.get(None)
        targets: dict[Family, Target] = {}
        if frontend is None or check is None:
            return targets
        for family in families(frontend):
            at = endpoint(frontend, backend, check, family)
            if at is not None and shard_of(at, self._shards) == self._shard:
                targets[family] = Target(at, probed(check, family))
        return targets

    def _move(self, key: BackendKey, before: Target | None, after: Target | None) -> None:
        if before is not None:
            keys = self._stands_for[before]
            del keys[key]
            if not keys:
                del self._stands_for[before]
        if after is not None:
            self._stands_for.setdefault(after, {})[key] = None


def _own(backend: Backend | None, family: Family) -> object:
    """Return what makes a backend another one when it changes: where it is, as opposed to how it is probed."""
    assert backend is not None
    return backend.ipv4 if family is Family.IPV4 else backend.ipv6, backend.tcp
