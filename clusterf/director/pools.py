"""The backends of each service that are probed, their verdicts, and whether too few of them are up.

When too few backends of a service are up in one of its families, the service *panics* there.

Verdicts and configuration may come in any order. A verdict holds for one endpoint of
a backend; it is kept until it is revoked, also while the backend has no such endpoint.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import msgspec

from clusterf.config.model import Name
from clusterf.lib.addresses import Endpoint, Family

__all__ = ["PanicMode", "Pools", "Probe"]


class PanicMode(NamedTuple):
    """Whether health is ignored for a service in a family, where `down` of `total` backends are down.

    `threshold` is in percent.
    """

    service: Name
    family: Family
    panic: bool
    down: int
    total: int
    threshold: float


class Probe(msgspec.Struct, frozen=True, gc=False):
    """Where a backend is probed, and its verdict; None: there is none yet. `refused`: there will be none."""

    endpoint: Endpoint
    up: bool | None
    refused: bool = False


class _Pool:
    """The backends of a service that are probed in one family, and are members of its virtual servers there."""

    __slots__ = ("down", "panic", "probes")

    def __init__(self) -> None:
        self.probes: dict[Name, Probe] = {}
        self.down = 0
        self.panic = False

    def panics(self, threshold: float) -> bool:
        """Tell whether fewer than `threshold` percent are up; those without a verdict are not down."""
        return (len(self.probes) - self.down) * 100 < threshold * len(self.probes)


class Pools:
    """All probes, by service, family and backend."""

    def __init__(self) -> None:
        self._pools: dict[tuple[Name, Family], _Pool] = {}
        # verdicts on endpoints that their backend does not have at present
        self._stray: dict[tuple[Name, Name, Endpoint], Probe] = {}
        # pools whose counts have changed since `judge`
        self._uncounted: dict[tuple[Name, Family], None] = {}
        # the number of probes without a verdict that may get one
        self.unknown = 0

    def probe(self, service: Name, family: Family, backend: Name) -> Probe | None:
        """Return the probe of a backend, None: it is not probed."""
        pool = self._pools.get((service, family))
        return pool.probes.get(backend) if pool is not None else None

    def panics(self, service: Name, family: Family) -> bool:
        """Tell whether the service panicked at the last `judge`."""
        pool = self._pools.get((service, family))
        return pool is not None and pool.panic

    def probed(self, service: Name) -> Iterator[Name]:
        """Yield the backends of a service that are probed, once for each family."""
        for family in Family:
            pool = self._pools.get((service, family))
            yield from pool.probes if pool is not None else ()

    def undecided(self, *, refused: bool = True) -> Iterator[tuple[Name, Name, Endpoint]]:
        """Yield the service and name of each backend without a verdict, with its endpoint; also of `refused` ones."""
        for (service, _), pool in self._pools.items():
            for backend, probe in pool.probes.items():
                if probe.up is None and (refused or not probe.refused):
                    yield service, backend, probe.endpoint

    def put_verdict(
        self, service: Name, backend: Name, endpoint: Endpoint, up: bool | None, *, refused: bool = False
    ) -> bool:
        """Set the verdict on an endpoint of a backend, None revokes it; return whether that changes its probe.

        `refused`: there is none, and there will be none, as the endpoint is not probed.
        """
        new = Probe(endpoint, up, refused)
        family = Family.IPV4 if len(endpoint.packed) == 4 else Family.IPV6
        probe = self.probe(service, family, backend)
        if probe is not None and probe.endpoint == endpoint:
            if probe == new:
                return False
            self._put(service, family, backend, new)
            return True
        if up is None and not refused:
            self._stray.pop((service, backend, endpoint), None)
        else:
            self._stray[service, backend, endpoint] = new
        return False

    def aim(self, service: Name, family: Family, backend: Name, endpoint: Endpoint | None) -> None:
        """Have the backend's verdict be the one on `endpoint`; None: it is not probed."""
        old = self.probe(service, family, backend)
        if endpoint == (old.endpoint if old is not None else None):
            return
        if old is not None and (old.up is not None or old.refused):
            self._stray[service, backend, old.endpoint] = old
        known = self._stray.pop((service, backend, endpoint), None) if endpoint is not None else None
        self._put(service, family, backend, known or (Probe(endpoint, None) if endpoint is not None else None))

    def recount(self, service: Name) -> None:
        """Have the service judged anew, as its threshold may have changed."""
        for family in Family:
            if (service, family) in self._pools:
                self._uncounted[service, family] = None

    def judge(self, threshold: Callable[[Name], float]) -> Iterator[tuple[PanicMode, list[Name]]]:
        """Yield the services and families that begin or cease to panic, with their backends that are down."""
        for service, family in self._uncounted:
            pool, percent = self._pools[service, family], threshold(service)
            if pool.panics(percent) != pool.panic:
                pool.panic = not pool.panic
                down = [backend for backend, probe in pool.probes.items() if probe.up is False]
                yield PanicMode(service, family, pool.panic, pool.down, len(pool.probes), percent), down
            if not pool.probes:
                del self._pools[service, family]
        self._uncounted = {}

    def _put(self, service: Name, family: Family, backend: Name, probe: Probe | None) -> None:
        pool = self._pools.setdefault((service, family), _Pool())
        old = pool.probes.pop(backend, None)
        if probe is not None:
            pool.probes[backend] = probe
        for change, at in ((-1, old), (1, probe)):
            if at is not None:
                pool.down += change * (at.up is False)
                self.unknown += change * (at.up is None and not at.refused)
        self._uncounted[service, family] = None
