"""Keeps the addresses of our virtual servers on an interface.

Each address is recorded before it is added, so that a later node removes those
that are no longer needed, even a node that keeps none or keeps them elsewhere.
`clusterf.vip.plan` decides what to do. A node that stops leaves all addresses.
"""

import errno
import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from ipaddress import ip_address
from shlex import quote

import msgspec

from clusterf.host.interfaces import HostAddress, Interface, Interfaces
from clusterf.ipvs.operation_log import log_prefix
from clusterf.ipvs.table import VirtualServer
from clusterf.lib.addresses import IPAddress
from clusterf.lib.logs import Lines
from clusterf.reconcile.record import Record
from clusterf.vip.announcements import Announce, Announcements
from clusterf.vip.plan import Vips

__all__ = ["VipKeeper"]

log = logging.getLogger(__name__)

_FRESH = 10  # times as long as it took to read the interfaces the result is taken as current
_NAMED = 10  # addresses in one line of a log


class VipKeeper:
    """Keeps the addresses on the interface `name`; with None it only removes those of an earlier node.

    Nothing is done before the first `keep`. `announce` None: no address is
    announced. Addresses that are `excluded` are left alone, even if recorded.
    """

    def __init__(
        self,
        name: str | None,
        record: Record,
        interfaces: Interfaces,
        announce: Announce | None,
        *,
        excluded: Callable[[IPAddress], bool] = lambda _: False,
        noop: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._name = name
        self._record = record
        self._interfaces = interfaces
        self._prefix = log_prefix(noop=noop)
        self._announcements = Announcements(announce, self._prefix)
        self._clock = clock
        self._vips = Vips((p for p in _load(record) if not excluded(p.address)), kept=name is not None)
        # the interface, if it exists
        self._interface: Interface | None = None
        # whether it is known where our addresses are
        self._known = False
        # until when what was read of the interfaces is taken as current
        self._fresh_until = 0.0

    @property
    def idle(self) -> bool:
        """Whether there are no addresses to keep, and none to remove."""
        return self._name is None and not self._vips.ours

    def follow(self, changes: Mapping[VirtualServer, bool]) -> None:
        """Add the addresses of virtual servers that are about to be made (True), and remove those of others.

        Addresses that an earlier call has added are announced, as their virtual
        servers exist now. Raises OSError if the kernel refuses some, which
        `keep` retries, or does not respond: then nothing is done until `keep`.
        """
        self._vips.follow(changes)
        if self._known:
            self._announcements.send(self._interface, self._owns)
            _raise_if_any(self._apply())

    def keep(self) -> None:
        """Add all addresses that are needed, remove others of ours. Raises OSError with the reason if that fails."""
        if self.idle:
            return
        self._known = False
        self._observe()
        self._known = True
        refused = self._apply()
        self._announcements.retry()
        if self._name is not None and self._interface is None:
            raise OSError(f"interface {self._name} does not exist: addresses of virtual servers cannot be added")
        if self._interface is not None and not self._interface.running:
            raise OSError(f"interface {self._name} is down: its addresses are unreachable")
        _raise_if_any(refused)

    def _observe(self) -> None:
        start = self._clock()
        interface, present = self._interfaces.read(self._name)
        if self._vips.lost(present):
            # a list that changed while it was read may be incomplete
            interface, present = self._interfaces.read(self._name)
        lost = self._vips.lost(present)
        now = self._clock()
        self._fresh_until = now + _FRESH * (now - start)
        self._interface = interface
        self._vips.observe(interface.index if interface is not None else None, present)
        self._record.update(dict.fromkeys(map(_encode, lost)))
        if again := [str(placed.address) for placed in lost if self._vips.needs(placed)]:
            more = f" and {len(again) - _NAMED} more" if len(again) > _NAMED else ""
            log.warning(
                "%s: drift: %d addresses removed from %s outside clusterf, repairing: %s%s",
                *(self._prefix, len(again), self._name, ", ".join(again[:_NAMED]), more),
            )

    def _apply(self) -> int:
        """Add missing addresses, then remove superfluous ones; return how many the kernel refused. Raises OSError."""
        refused = 0
        try:
            if self._vips.missing() and self._clock() >= self._fresh_until:
                self._observe()
            if missing := self._vips.missing():
                refused += self._add(missing)
            if superfluous := self._vips.superfluous():
                refused += self._remove(superfluous)
        except OSError:
            self._known = False
            raise
        return refused

    def _add(self, missing: Sequence[HostAddress]) -> int:
        for placed in missing:
            self._vips.own(placed)
        self._record.update({_encode(placed): b"" for placed in missing})
        # an exchange that fails may have added some
        self._announcements.add(placed.address for placed in missing)
        errors = self._interfaces.add(missing)
        self._report("add", missing, errors, expected=errno.EEXIST)
        for placed, error in zip(missing, errors, strict=True):
            if error == errno.EEXIST:
                self._vips.leave(placed)
            elif error:
                self._vips.disown(placed)
        self._record.update({_encode(placed): None for placed, error in zip(missing, errors, strict=True) if error})
        return sum(error not in {0, errno.EEXIST} for error in errors)

    def _remove(self, superfluous: Sequence[HostAddress]) -> int:
        errors = self._interfaces.remove(superfluous)
        removed = self._report("del", superfluous, errors)
        for placed in removed:
            self._vips.disown(placed)
            if self._interface is not None and placed.interface == self._interface.index:
                self._announcements.discard(placed.address)
        self._record.update({_encode(placed): None for placed in removed})
        return len(superfluous) - len(removed)

    def _report(
        self, action: str, addresses: Iterable[HostAddress], errors: Iterable[int], *, expected: int = 0
    ) -> list[HostAddress]:
        """Log each address that was done or failed; return those done."""
        done = []
        for placed, error in zip(addresses, errors, strict=True):
            if not error:
                done.append(placed)
            elif error != expected:
                log.error("%s: failed: %s: %s", self._prefix, self._command(action, placed), os.strerror(error))
        if done:
            log.info(Lines(f"{self._prefix}: {self._command(action, placed)}" for placed in done))
        return done

    def _owns(self, interface: Interface, address: IPAddress) -> bool:
        return self._vips.owns(HostAddress(interface.index, address))

    def _command(self, action: str, placed: HostAddress) -> str:
        """Return the equivalent shell command."""
        whole = f"{placed.address}/{placed.address.max_prefixlen}"
        settings = " nodad preferred_lft 0" if action == "add" and placed.address.version == 6 else ""
        return f"ip address {action} {whole} dev {quote(self._interfaces.name_of(placed.interface))}{settings}"


def _raise_if_any(refused: int) -> None:
    """Raise OSError if the kernel has refused some; each was logged with its reason."""
    if refused:
        raise OSError(f"{refused} addresses could not be added or removed")


def _encode(placed: HostAddress) -> bytes:
    return msgspec.json.encode([placed.interface, str(placed.address)])


def _load(record: Record) -> Iterator[HostAddress]:
    for key in dict(record.items()):
        try:
            interface, address = msgspec.json.decode(key, type=tuple[int, str])
            placed = HostAddress(interface, ip_address(address))
        except ValueError as error:
            log.error("state: invalid record of an address (ignored): %r: %s", key, error)
            continue
        record.found(key, _encode(placed))
        yield placed
