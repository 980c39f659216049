"""The verdicts on backends, stored across restarts.

So a backend that is down is not put back by a restart, and one that is up is
taken out only after as many failures as ever. Stored verdicts are valid for one
boot, as those from before it are too old, and for one network namespace. Where some
may not have been written, none is believed: each backend keeps its weight until it is probed.

Each health process writes a file of its own, and reads those of the others as
well: with another number of processes, an endpoint may belong to another one
than before. The process that has it now stores its verdict first, and then
deletes it from the file of the other.
"""

import logging
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import msgspec

from clusterf.health.verdict import StoredVerdict, VerdictKey
from clusterf.host.boot import boot_id, namespace_id
from clusterf.lib.addresses import Endpoint
from clusterf.lib.store import Store

__all__ = ["VerdictStore"]

log = logging.getLogger(__name__)

_key = msgspec.msgpack.Decoder(VerdictKey)
_value = msgspec.msgpack.Decoder(StoredVerdict)


class VerdictStore:
    """The stored verdicts of one process, in the file `own` (None: nothing is stored).

    `mine` tells the endpoints of this process. With `read_only` no file is written.
    `elsewhere` is the directory of `Store`.
    """

    def __init__(
        self,
        own: Path | None,
        mine: Callable[[Endpoint], bool],
        *,
        read_only: bool = False,
        elsewhere: Path | None = None,
    ) -> None:
        """Open the file, and delete verdicts of earlier boots."""
        self._mine = mine
        self._section = f"verdicts {boot_id()} {namespace_id()}"
        self._read_only = read_only
        self._elsewhere = elsewhere
        self._store = Store(own, read_only=read_only, elsewhere=elsewhere)
        self._store.drop("verdicts ", but=self._section)
        self._others = [] if own is None else _others(own)
        # the verdicts on our endpoints in our file, and the keys among them that have not been recorded since `load`
        self._recorded: dict[VerdictKey, StoredVerdict] = {}
        self._unclaimed: set[VerdictKey] = set()
        # the raw keys of our endpoints in the files of other processes, and whether they are to be deleted there
        self._with_others: dict[Path, list[bytes]] = {}
        self._claimed = False

    def load(self) -> dict[VerdictKey, StoredVerdict]:
        """Return the stored verdicts on our endpoints, from all files; of several for one key, the latest."""
        self._recorded = {key: stored for key, stored, _ in self._read(self._store)}
        self._unclaimed = set(self._recorded)
        found = dict(self._recorded)
        for path in self._others:
            store = Store(path, read_only=True, elsewhere=self._elsewhere)
            for key, stored, raw in self._read(store):
                self._with_others.setdefault(path, []).append(raw)
                known = found.get(key)
                if known is None or known.verdict.since < stored.verdict.since:
                    found[key] = stored
            store.close()
        return found

    def record(self, changes: Mapping[VerdictKey, StoredVerdict | None]) -> None:
        """Store the verdicts; None: there is none any more."""
        self._unclaimed.difference_update(changes)
        new = {key: stored for key, stored in changes.items() if self._recorded.get(key) != stored}
        for key, stored in new.items():
            if stored is None:
                del self._recorded[key]
            else:
                self._recorded[key] = stored
        encode = msgspec.msgpack.encode
        self._store.update(self._section, {encode(k): encode(s) if s is not None else None for k, s in new.items()})

    def forget_unclaimed(self) -> None:
        """Delete the verdicts that were loaded and not recorded since: all backends of this process have been.

        Those on our endpoints are deleted from the files of other processes, too.
        """
        self.record(dict.fromkeys(self._unclaimed))
        self._claimed = True
        self._delete_with_others()

    def keep(self) -> None:
        """Write what could not be written; to be called every KEEP_INTERVAL."""
        self._store.keep()
        self._delete_with_others()

    def close(self) -> None:
        """Write what could not be written, if that can be, and close the file."""
        self._delete_with_others()
        self._store.close()

    def _delete_with_others(self) -> None:
        for path in list(self._with_others) if self._claimed else ():
            store = Store(path, read_only=self._read_only, guest=True)
            if store.update(self._section, dict.fromkeys(self._with_others[path])):
                del self._with_others[path]
            store.close()

    def _read(self, store: Store) -> Iterator[tuple[VerdictKey, StoredVerdict, bytes]]:
        for raw, value in store.items(self._section):
            try:
                key, stored = _key.decode(raw), _value.decode(value)
                mine = self._mine(key.endpoint)
            except (ValueError, RecursionError, OverflowError, msgspec.DecodeError) as error:
                log.error("state: invalid stored verdict %r: %s (ignored)", raw, error)
                continue
            if mine:
                yield key, stored, raw


def _others(own: Path) -> list[Path]:
    """Return the files of other health processes, as far as they can be seen."""
    try:
        return sorted(path for path in own.parent.glob("health*.db") if path != own)
    except OSError as error:
        log.debug("state: %s: cannot be listed: %s", own.parent, error.strerror)
        return []
