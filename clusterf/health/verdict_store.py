"""What is known of the backends' health, on record across restarts.

So that one which is down is not put back by a restart, and one which is up has
to fail as often as ever before it is taken out. A record counts for one boot:
what was found out before a machine came up is too old.

Each health process writes a file of its own, and reads those of the others
too: with another number of processes an endpoint may be another one's than
before. What has changed hands is removed from where it was by the one who has
it now, once that has it on its own record.
"""

import logging
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import msgspec

from clusterf.config.model import Name
from clusterf.health.verdict import StoredVerdict
from clusterf.host.boot import boot_id
from clusterf.lib.addresses import Endpoint
from clusterf.lib.store import Store

__all__ = ["VerdictKey", "VerdictStore"]

log = logging.getLogger(__name__)

VerdictKey = tuple[Name, Name, Endpoint]
"""A service, a backend of it, and where that is probed."""

_key = msgspec.msgpack.Decoder(VerdictKey)
_value = msgspec.msgpack.Decoder(StoredVerdict)


class VerdictStore:
    """The record in the file `own`, None: nothing is kept; `mine` tells the endpoints that it is about.

    `read_only`: what is recorded goes nowhere.
    """

    def __init__(self, own: Path | None, mine: Callable[[Endpoint], bool], *, read_only: bool = False) -> None:
        """Open the record, and drop those of earlier boots."""
        self._mine = mine
        self._section = f"verdicts {boot_id()}"
        self._read_only = read_only
        self._store = Store(own, read_only=read_only)
        self._store.drop("verdicts ", but=self._section)
        self._others = [] if own is None else sorted(path for path in own.parent.glob("health*.db") if path != own)
        # what our file has for our endpoints, and which of that nobody has spoken of since
        self._recorded: dict[VerdictKey, StoredVerdict] = {}
        self._unclaimed: set[VerdictKey] = set()
        # what is ours in the files of others, as it is there
        self._elsewhere: dict[Path, list[bytes]] = {}

    def load(self) -> dict[VerdictKey, StoredVerdict]:
        """Return what is on record for our endpoints; of several memories of one, the latest."""
        self._recorded = {place: memory for place, memory, _ in self._read(self._store)}
        self._unclaimed = set(self._recorded)
        found = dict(self._recorded)
        for path in self._others:
            store = Store(path, read_only=True)
            for place, memory, key in self._read(store):
                self._elsewhere.setdefault(path, []).append(key)
                known = found.get(place)
                if known is None or known.verdict.since < memory.verdict.since:
                    found[place] = memory
            store.close()
        return found

    def record(self, changes: Mapping[VerdictKey, StoredVerdict | None]) -> None:
        """Write down what is known now, and with None that nothing is."""
        self._unclaimed.difference_update(changes)
        new = {place: memory for place, memory in changes.items() if self._recorded.get(place) != memory}
        for place, memory in new.items():
            if memory is None:
                del self._recorded[place]
            else:
                self._recorded[place] = memory
        encode = msgspec.msgpack.encode
        self._store.update(self._section, {encode(p): encode(m) if m is not None else None for p, m in new.items()})

    def settle(self) -> None:
        """Take it that all there is has been recorded: forget the rest, also where others had it on record."""
        self.record(dict.fromkeys(self._unclaimed))
        for path, keys in self._elsewhere.items():
            store = Store(path, read_only=self._read_only)
            store.update(self._section, dict.fromkeys(keys))
            store.close()
        self._elsewhere = {}

    def close(self) -> None:
        """Close the file."""
        self._store.close()

    def _read(self, store: Store) -> Iterator[tuple[VerdictKey, StoredVerdict, bytes]]:
        for key, value in store.items(self._section):
            try:
                place, memory = _key.decode(key), _value.decode(value)
                mine = self._mine(place[2])
            except (msgspec.DecodeError, OverflowError) as error:
                log.error("state: a verdict on record is not understood and left out: %r: %s", key, error)
                continue
            if mine:
                yield place, memory, key
