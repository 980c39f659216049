"""Deletions by a source that is in doubt: its values stay in force, so they are probed and weighed like all others.

Another etcd, or an older one, lacks keys that nobody has deleted. They are deleted
when the doubt has ended, unless the source has them again by then.
"""

from clusterf.config.model import Key, Value

__all__ = ["Withheld"]


class Withheld:
    """The deletions of one source that wait until it is not in doubt."""

    def __init__(self) -> None:
        self._doubted = False
        self._keys: dict[Key, None] = {}

    def withholds(self, key: Key, value: Value | None) -> bool:
        """Return whether this update of the source, None: a deletion, is to wait."""
        if value is None and self._doubted:
            self._keys[key] = None
            return True
        self._keys.pop(key, None)
        return False

    def doubt(self, *, doubted: bool) -> list[Key]:
        """Begin or end the doubt; return the keys that are to be deleted now."""
        self._doubted = doubted
        keys = [] if doubted else list(self._keys)
        if keys:
            self._keys = {}
        return keys
