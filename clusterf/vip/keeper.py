"""Keeps the addresses of our virtual servers on an interface.

What is added is on record before it is there, so that a later node, also one
that keeps none or keeps them elsewhere, removes what is needed no more. What to
do is `clusterf.vip.plan`' to say. A node that stops leaves them all.
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
from clusterf.vip.plan import Vips

__all__ = ["Announce", "VipKeeper"]

log = logging.getLogger(__name__)

Announce = Callable[[Interface, Sequence[IPAddress]], None]
"""Tells the neighbours on an interface which addresses are there now. Raises OSError."""

_FRESH = 10  # a look at the interfaces holds for so many times as long as it took
_NAMED = 10  # addresses in one line of a log


class VipKeeper:
    """Keeps the addresses on the interface `name`; with None it only removes those of an earlier node.

    Nothing is done before it was told to `keep` them all for the first time.
    `announce` None: nobody is told of them. What is `excluded` is left alone,
    although it may be on record.
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
        self._announce = announce
        self._prefix = log_prefix(noop=noop)
        self._clock = clock
        self._vips = Vips((p for p in _load(record) if not excluded(p.address)), kept=name is not None)
        # the interface, if there is one
        self._link: Interface | None = None
        # whether it is known where ours are
        self._known = False
        # until when others are taken to have added nothing anywhere
        self._fresh_until = 0.0
        # what was added, or may have been, and is to be announced if it is there, and what could not be
        self._news: dict[IPAddress, None] = {}
        self._unannounced: dict[IPAddress, None] = {}

    @property
    def idle(self) -> bool:
        """Whether there is nothing to keep, and nothing to remove."""
        return self._name is None and not self._vips.ours

    def follow(self, changes: Mapping[VirtualServer, bool]) -> None:
        """Have the addresses of virtual servers that are about to be made (True), and no longer those of others.

        What an earlier call has added is announced, as its virtual server is
        there now. Raises OSError if the kernel refuses some, which are tried
        again by `keep`, or cannot be asked: then nothing is done until `keep`.
        """
        self._vips.follow(changes)
        if self._known:
            self._tell()
            _complain(self._apply())

    def keep(self) -> None:
        """Have all that is needed and nothing else of ours. Raises OSError with the reason why that cannot be."""
        if self.idle:
            return
        self._known = False
        self._observe()
        self._known = True
        refused = self._apply()
        self._news |= self._unannounced
        self._unannounced = {}
        if self._name is not None and self._link is None:
            raise OSError(f"there is no interface {self._name}: the addresses of virtual servers cannot be added")
        if self._link is not None and not self._link.running:
            raise OSError(f"the interface {self._name} is down: nobody reaches the addresses on it")
        _complain(refused)

    def _observe(self) -> None:
        start = self._clock()
        link, present = self._interfaces.read(self._name)
        if self._vips.lost(present):
            # a list that changed while it was read may lack some
            link, present = self._interfaces.read(self._name)
        lost = self._vips.lost(present)
        now = self._clock()
        self._fresh_until = now + _FRESH * (now - start)
        self._link = link
        self._vips.observe(link.index if link is not None else None, present)
        self._record.update(dict.fromkeys(map(_encode, lost)))
        if again := [str(placed.address) for placed in lost if self._vips.needs(placed)]:
            more = f" and {len(again) - _NAMED} more" if len(again) > _NAMED else ""
            log.warning(
                "%s: gone from %s, adding again: %s%s",
                *(self._prefix, self._name, ", ".join(again[:_NAMED]), more),
            )

    def _apply(self) -> int:
        """Add what is missing, then remove what is superfluous; return how many the kernel refused. Raises OSError."""
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
        # (an exchange that breaks may have added some)
        self._news.update((placed.address, None) for placed in missing)
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
            if self._link is not None and placed.interface == self._link.index:
                self._news.pop(placed.address, None)
                self._unannounced.pop(placed.address, None)
        self._record.update({_encode(placed): None for placed in removed})
        return len(superfluous) - len(removed)

    def _report(
        self, action: str, addresses: Iterable[HostAddress], errors: Iterable[int], *, expected: int = 0
    ) -> list[HostAddress]:
        """Log what was done and what failed; return what was done."""
        done = []
        for placed, error in zip(addresses, errors, strict=True):
            if not error:
                done.append(placed)
            elif error != expected:
                log.error("%s: failed: %s: %s", self._prefix, self._command(action, placed), os.strerror(error))
        if done:
            log.info(Lines(f"{self._prefix}: {self._command(action, placed)}" for placed in done))
        return done

    def _tell(self) -> None:
        """Announce what is new, if there is somebody to be told."""
        link = self._link
        if not self._news or link is None or not link.running:
            return
        news = {address: None for address in self._news if self._vips.owns(HostAddress(link.index, address))}
        self._news = {}
        if not news or self._announce is None or not link.hardware:
            return
        try:
            self._announce(link, list(news))
        except OSError as error:
            self._unannounced |= news
            log.error("%s: %d addresses on %s are not announced: %s", self._prefix, len(news), self._name, error)

    def _command(self, action: str, placed: HostAddress) -> str:
        """Return the shell command that does the same."""
        whole = f"{placed.address}/{placed.address.max_prefixlen}"
        settings = " nodad preferred_lft 0" if action == "add" and placed.address.version == 6 else ""
        return f"ip address {action} {whole} dev {quote(self._interfaces.name_of(placed.interface))}{settings}"


def _complain(refused: int) -> None:
    """Raise OSError if the kernel has refused some; which, and why, has been said of each."""
    if refused:
        raise OSError(f"{refused} addresses could not be added or removed")


def _encode(placed: HostAddress) -> bytes:
    return msgspec.json.encode([placed.interface, str(placed.address)])


def _load(record: Record) -> Iterator[HostAddress]:
    for key in dict(record.items()):
        try:
            interface, address = msgspec.json.decode(key, type=tuple[int, str])
            yield HostAddress(interface, ip_address(address))
        except ValueError as error:
            log.error("state: an address on record is not understood, and left alone: %r: %s", key, error)
