"""What the subscribing end of a link knows of its publisher's state, without sockets and threads.

A publisher replays its whole state on each connection and then says `Synced`.
Until then what was known stays; at `Synced` the keys that were not repeated are
deleted. So either end may crash and return at any time.

A publisher that has lost its last good values says of a key only that its value is
invalid, or that a directory is unreadable. That deletes nothing: what is known stays until the problem ends.
"""

from collections.abc import Iterable

from actors.link.messages import (
    AuthoritiesKey,
    DoubtKey,
    ProblemsAre,
    ProblemsKey,
    Pulse,
    StateKey,
    StateMessage,
    Synced,
    WireMessage,
    deletion_of,
    is_deletion,
)
from clusterf.config.keys import path_of
from clusterf.health.verdict import VerdictKey
from clusterf.lib.store import is_below

__all__ = ["CREDIT", "ReceivedKeys"]

_NOT_VALUES = ProblemsKey | DoubtKey | VerdictKey | AuthoritiesKey
MOST_KEYS = 2_000_000  # of one publisher; more are not from one of ours
MOST_NAMES = 1 << 27  # bytes of all names in the keys of verdicts: 100 bytes for each of a million
CREDIT = 4  # frames that an actor may hold before it has acknowledged the first


class ReceivedKeys:
    """The keys that exist at the publisher, as far as it is known, through all connections to it."""

    def __init__(self) -> None:
        self._known: set[StateKey] = set()
        # bytes of the names in the keys of verdicts, as a health process is free to choose what it says
        self._names = 0
        # the keys that this connection has repeated; None once it is synced
        self._repeated: set[StateKey] | None = set()
        # paths with fatal problems, and the keys that were kept because of them
        self._invalid: set[ProblemsKey] = set()
        self._kept: dict[ProblemsKey, set[StateKey]] = {}

    def connected(self) -> None:
        """Note a new connection, on which the whole state is to be repeated."""
        self._repeated = set()

    def receive(self, frame: Iterable[WireMessage]) -> tuple[WireMessage, ...]:
        """Return the messages of a frame, with those that delete what `Synced` shows to be gone before it.

        Raises OSError if there are more keys than can be.
        """
        messages: list[WireMessage] = []
        for message in frame:
            if isinstance(message, Synced):
                messages += map(deletion_of, self._sync())
            elif not isinstance(message, Pulse):
                before = len(self._known)
                _note(message, self._known)
                self._names += (len(self._known) - before) * _names_of(message.key)
                if self._repeated is not None:
                    _note(message, self._repeated)
                messages += map(deletion_of, self._note_problems(message))
            messages.append(message)
        if len(self._known) > MOST_KEYS:
            raise OSError(f"more than {MOST_KEYS} keys")
        if self._names > MOST_NAMES:
            raise OSError(f"more than {MOST_NAMES} bytes of names")
        return tuple(messages)

    def _note_problems(self, message: StateMessage) -> set[StateKey]:
        """Note whether a path has fatal problems; return the keys that are gone, as one has none any more."""
        if not isinstance(message, ProblemsAre):
            for kept in self._kept.values():
                kept.discard(message.key)
            return set()
        if any(problem.fatal for problem in message.value):
            self._invalid.add(message.key)
            return set()
        self._invalid.discard(message.key)
        # (another problem may concern the same key, such as one of its directory)
        gone = self._kept.pop(message.key, set()).difference(*self._kept.values())
        self._known -= gone
        return gone

    def _sync(self) -> set[StateKey]:
        """Return the keys that are gone, and forget them."""
        if self._repeated is None:
            return set()
        gone = self._known - self._repeated
        self._invalid &= self._repeated
        self._kept = {problems: _below(problems.path, gone) for problems in self._invalid} if gone else {}
        kept = set[StateKey]().union(*self._kept.values())
        self._known, self._repeated = self._repeated | kept, None
        self._names = sum(map(_names_of, self._known))
        return gone - kept


def _below(path: bytes, keys: set[StateKey]) -> set[StateKey]:
    """Return the keys of the configuration at a path, and below it."""
    values = (key for key in keys if not isinstance(key, _NOT_VALUES))
    return {key for key in values if is_below(path_of(key), path)}


def _names_of(key: StateKey) -> int:
    """Return how many bytes the names in the key of a verdict have, 0 for any other key."""
    return len(key.service) + len(key.backend) if isinstance(key, VerdictKey) else 0


def _note(message: StateMessage, keys: set[StateKey]) -> None:
    if is_deletion(message):
        keys.discard(message.key)
    else:
        keys.add(message.key)
