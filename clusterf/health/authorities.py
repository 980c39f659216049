"""The certificates of authorities that checks trust, and which checks name which file of them.

A check names a file (`tls.ca`) that only the config process may be able to read. So that process
reads it (`clusterf.health.authority_files`), and health processes are handed what it holds.
"""

from collections import Counter

import msgspec

from clusterf.config.model import Backend, BackendCheck, HealthCheck, Key, Value

__all__ = ["Authorities", "NamedFiles", "file_of"]


class Authorities(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What is known of a file of authorities.

    `pem` are its certificates, those of before if it has a `problem`; empty: none could be read yet.
    Without either, it is about to be read.
    """

    pem: str = ""
    problem: str = ""


def file_of(check: HealthCheck) -> str:
    """Return the path of the file of authorities that probes by `check` may need; empty: they need none."""
    by_tls = check.type == "https" or (check.type == "http" and check.redirects > 0)
    return check.tls.ca if by_tls and check.tls.verify else ""


class NamedFiles:
    """The files that are named by checks of the configuration, each by one or many."""

    def __init__(self) -> None:
        self._files: dict[Key, str] = {}
        self._keys: Counter[str] = Counter()

    def put(self, key: Key, value: Value | None) -> list[tuple[str, bool]]:
        """Set the value of `key`; return the files that are named from now on (True), or no longer (False)."""
        before, after = self._files.pop(key, ""), _file_named_by(value)
        if after:
            self._files[key] = after
        if before == after:
            return []
        changes = []
        if after:
            self._keys[after] += 1
            if self._keys[after] == 1:
                changes.append((after, True))
        if before:
            self._keys[before] -= 1
            if not self._keys[before]:
                del self._keys[before]
                changes.append((before, False))
        return changes

    def __contains__(self, path: str) -> bool:
        """Tell whether a check names the file."""
        return path in self._keys


def _file_named_by(value: Value | None) -> str:
    match value:
        case HealthCheck():
            return file_of(value)
        case Backend(health=BackendCheck(check=check)):
            return file_of(check)
        case _:
            return ""
