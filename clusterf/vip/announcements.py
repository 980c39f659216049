"""Which of the added addresses have still to be announced to neighbours."""

import logging
from collections.abc import Callable, Iterable, Sequence

from clusterf.host.interfaces import Interface
from clusterf.lib.addresses import IPAddress

__all__ = ["Announce", "Announcements"]

log = logging.getLogger(__name__)

Announce = Callable[[Interface, Sequence[IPAddress]], None]
"""Tells the neighbours on an interface which addresses it has. Raises OSError."""


class Announcements:
    """The addresses that are to be announced by `announce`; with None there is nobody to announce them to."""

    def __init__(self, announce: Announce | None, prefix: str) -> None:
        self._announce = announce
        self._prefix = prefix
        # dictionaries, as these keep the order: to be announced, and what failed to be
        self._due: dict[IPAddress, None] = {}
        self._failed: dict[IPAddress, None] = {}

    def add(self, addresses: Iterable[IPAddress]) -> None:
        """Have addresses announced by the next `send`, if they are on the interface then."""
        self._due.update(dict.fromkeys(addresses))

    def discard(self, address: IPAddress) -> None:
        """Do not announce an address, as it was removed."""
        self._due.pop(address, None)
        self._failed.pop(address, None)

    def retry(self) -> None:
        """Have those that failed announced by the next `send`."""
        self._due |= self._failed
        self._failed = {}

    def send(self, interface: Interface | None, has: Callable[[Interface, IPAddress], bool]) -> None:
        """Announce what is due and what `interface` has of it, once the interface is running."""
        if not self._due or interface is None or not interface.running:
            return
        due = {address: None for address in self._due if has(interface, address)}
        self._due = {}
        if not due or self._announce is None or not interface.hardware:
            return
        try:
            self._announce(interface, list(due))
        except OSError as error:
            self._failed |= due
            log.error("%s: %d addresses on %s not announced: %s", self._prefix, len(due), interface.name, error)
