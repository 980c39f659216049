"""What to probe: the targets that the backends of checked services make.

A backend is probed at its own address, at one endpoint for each family of its
frontend. Backends that are probed alike share a target. The director needs the
same `endpoint` to know which verdict counts for which real server.

`Targets` is updated with single objects of the configuration, by key, and
returns what that changes for the backends concerned: one target for a changed
backend, those of its service for a changed check, and those of all services
without a check of their own for a changed default. A backend may have a check of its own.
"""

import zlib
from collections import OrderedDict
from collections.abc import Collection
from typing import NamedTuple

import msgspec

from clusterf.config.model import Backend, BackendKey, Frontend, FrontendKey, HealthCheck, HealthKey, Key, Name, Value
from clusterf.health.checks import Checks
from clusterf.health.probe_policy import EVERYTHING, ProbePolicy
from clusterf.lib.addresses import Endpoint, Family, Protocol
from clusterf.lib.mapping import put

__all__ = ["Target", "TargetChange", "Targets", "endpoint", "probe_settings", "shard_of"]


class Target(msgspec.Struct, frozen=True, gc=False, cache_hash=True):
    """An endpoint to be probed, and how, for one or many backends.

    `check` is as `probe_settings` returns it, so that checks which probe alike are equal. `refused` is why
    it is not to be probed after all; empty: it is.
    """

    endpoint: Endpoint
    check: HealthCheck
    refused: str = ""


def probe_settings(check: HealthCheck, family: Family) -> HealthCheck:
    """Return `check` with the defaults for all that makes no difference to probes of an endpoint of the family.

    That is the effect of a verdict, the port (the endpoint has it), and the
    source address of the other family.
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


def endpoint(frontend: Frontend, backend: Backend, check: HealthCheck | None, family: Family) -> Endpoint | None:
    """Return where `backend` is probed for the virtual servers of `family`; None: nowhere.

    It is not probed without a check, with one of the type `none`, without an
    address of the family, and if neither the check nor the backend names a TCP
    port. The port of the backend counts only for a frontend that has TCP, or
    names no port at all but a firewall mark.
    """
    address = backend.address(family)
    if check is None or check.type == "none" or address is None:
        return None
    tcp = frontend.tcp is not None or all(frontend.port(protocol) is None for protocol in Protocol)
    port = check.port or (backend.tcp if tcp else None)
    return Endpoint(address.packed, port) if port is not None else None


def shard_of(at: Endpoint, shards: int) -> int:
    """Return which of `shards` processes probes the endpoint, from 0; the same one in every run."""
    return zlib.crc32(at.packed + at.port.to_bytes(2)) % shards


class TargetChange(NamedTuple):
    """For one family of a backend, `before` is no longer probed and `after` is; None: no target.

    `inherits`: both are the same backend at the same address and port, probed
    in another way, so that the verdict on `before` holds for `after`.
    """

    key: BackendKey
    before: Target | None
    after: Target | None
    inherits: bool


class Targets:
    """The targets of one shard, kept up to date with the configuration; `flush` returns the changes.

    `policy` refuses some of them.
    """

    def __init__(self, shard: int = 0, shards: int = 1, policy: ProbePolicy = EVERYTHING) -> None:
        self._shard = shard
        self._shards = shards
        self._policy = policy
        self._frontends: dict[Name, Frontend] = {}
        self._backends: dict[Name, dict[Name, Backend]] = {}
        self._checks = Checks()
        # the backends that are from files of this machine
        self._local: set[BackendKey] = set()
        # each probed backend as of the last flush, with its targets
        self._flushed: dict[BackendKey, tuple[Backend, dict[Family, Target]]] = {}
        # the reverse: the backends of each target
        self._backends_of: dict[Target, dict[BackendKey, None]] = {}
        # changed since the last flush; dictionaries keep the order
        self._dirty_services: dict[Name, None] = {}
        self._dirty_backends: OrderedDict[BackendKey, None] = OrderedDict()

    @property
    def pending(self) -> bool:
        """Whether there may be changes that `flush` has not returned."""
        return bool(self._dirty_services or self._dirty_backends)

    def backends(self, target: Target) -> Collection[BackendKey]:
        """Return the backends of `target` as of the last flush; none: the target is no longer needed."""
        return self._backends_of.get(target, {}).keys()

    def __len__(self) -> int:
        """Return the number of targets."""
        return len(self._backends_of)

    def update(self, key: Key, value: Value | None, *, local: bool = False) -> None:
        """Set the value of `key`, or with None remove it. `local`: it is from files of this machine."""
        match key:
            case FrontendKey(service):
                assert value is None or isinstance(value, Frontend)
                if put(self._frontends, service, value):
                    self._dirty_services[service] = None
            case HealthKey(service):
                assert value is None or isinstance(value, HealthCheck)
                if self._checks.update(service, value, local=local):
                    self._touch_check(service)
            case BackendKey(service, backend):
                assert value is None or isinstance(value, Backend)
                siblings = self._backends.setdefault(service, {})
                was_local = key in self._local
                (self._local.add if local else self._local.discard)(key)
                if put(siblings, backend, value) or was_local != local:
                    self._dirty_backends[key] = None
                if not siblings:
                    del self._backends[service]

    def note(self, key: Key, source: str, *, invalid: bool) -> None:
        """Note whether the value of `key` is invalid in a source."""
        if isinstance(key, HealthKey) and self._checks.note(key.service, source, invalid=invalid):
            self._touch_check(key.service)

    def flush(self, limit: int) -> list[TargetChange]:
        """Return the changes of at most `limit` of the backends that are concerned by updates."""
        for service in self._dirty_services:
            for backend in self._backends.get(service, ()):
                self._dirty_backends[BackendKey(service, backend)] = None
        self._dirty_services = {}
        changes: list[TargetChange] = []
        for _ in range(min(limit, len(self._dirty_backends))):
            key, _ = self._dirty_backends.popitem(last=False)
            changes += self._flush_backend(key)
        return changes

    def _touch_check(self, service: Name | None) -> None:
        """Have the services flushed whose check may have changed with that of `service`, or with None the default."""
        if service is not None:
            self._dirty_services[service] = None
        else:
            self._dirty_services.update((name, None) for name in self._backends if not self._checks.has_own(name))

    def _flush_backend(self, key: BackendKey) -> list[TargetChange]:
        backend = self._backends.get(key.service, {}).get(key.backend)
        now = self._targets_of(key, backend) if backend is not None else {}
        old, before = self._flushed.pop(key, (None, {}))
        if backend is not None and now:
            self._flushed[key] = backend, now
        changes = []
        for family in Family:
            was, becomes = before.get(family), now.get(family)
            if was != becomes:
                self._replace(key, was, becomes)
                inherits = was is not None and becomes is not None and _own(old, family) == _own(backend, family)
                changes.append(TargetChange(key, was, becomes, inherits))
        return changes

    def _targets_of(self, key: BackendKey, backend: Backend) -> dict[Family, Target]:
        frontend = self._frontends.get(key.service)
        check = self._checks.in_force(key.service, backend.health)
        local = key in self._local and self._checks.is_local(key.service, backend.health)
        targets: dict[Family, Target] = {}
        if frontend is None or check is None:
            return targets
        for family in frontend.families:
            at = endpoint(frontend, backend, check, family)
            if at is not None and shard_of(at, self._shards) == self._shard:
                refused = self._policy.refusal(at, check, local=local)
                targets[family] = Target(at, probe_settings(check, family), refused)
        return targets

    def _replace(self, key: BackendKey, before: Target | None, after: Target | None) -> None:
        if before is not None:
            keys = self._backends_of[before]
            del keys[key]
            if not keys:
                del self._backends_of[before]
        if after is not None:
            self._backends_of.setdefault(after, {})[key] = None


def _own(backend: Backend | None, family: Family) -> object:
    """Return where a backend is: if that changes, it counts as a new backend, unlike a change of how it is probed."""
    assert backend is not None
    return backend.address(family), backend.tcp
