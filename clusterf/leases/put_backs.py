"""How long to wait before a key that someone else took is put back: not at all the first time.

Whoever takes it again and again, another publisher perhaps, would have etcd and all directors busy
with two writers that never tire.
"""

from clusterf.lib.backoff import Backoff

__all__ = ["CALM", "PutBacks"]

FIRST = 0.1  # seconds, before the second time
CALM = 60.0  # seconds without trouble, after which all is as the first time
MANY = 10_000  # keys, beyond which those that had no trouble lately are forgotten


class PutBacks:
    """The delays of keys by their paths, of `longest` seconds at most."""

    def __init__(self, longest: float) -> None:
        self._longest = longest
        # the keys that were put back lately, and when
        self._last: dict[bytes, tuple[float, Backoff]] = {}

    def delay(self, path: bytes, now: float) -> float:
        """Return the seconds to wait before `path` is put back, which was taken `now`."""
        last, backoff = self._last.get(path, (now, None))
        if backoff is None or now - last > CALM:
            self._note(path, now, Backoff(FIRST, self._longest))
            return 0.0
        self._note(path, now, backoff)
        return backoff.next()

    def _note(self, path: bytes, now: float, backoff: Backoff) -> None:
        if len(self._last) >= MANY:
            self._last = {one: entry for one, entry in self._last.items() if now - entry[0] <= CALM}
        self._last[path] = now, backoff
