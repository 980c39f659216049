"""What the subscribing end of a link knows of its publisher's state, without sockets and threads.

A publisher replays its whole state on each connection and then says `Synced`.
Until then what was known stays; at `Synced` the keys that were not repeated are
deleted. So either end may crash and return at any time.
"""

from collections.abc import Iterable

from actors.link.messages import StateKey, StateMessage, Synced, WireMessage, deletion_of, is_deletion

__all__ = ["CREDIT", "ReceivedKeys"]

CREDIT = 4  # frames that an actor may hold before it has acknowledged the first


class ReceivedKeys:
    """The keys that exist at the publisher, as far as it is known, through all connections to it."""

    def __init__(self) -> None:
        self._known: set[StateKey] = set()
        # the keys that this connection has repeated; None once it is synced
        self._repeated: set[StateKey] | None = set()

    def connected(self) -> None:
        """Note a new connection, on which the whole state is to be repeated."""
        self._repeated = set()

    def receive(self, frame: Iterable[WireMessage]) -> tuple[WireMessage, ...]:
        """Return the messages of a frame, with those that delete what `Synced` shows to be gone before it."""
        messages: list[WireMessage] = []
        for message in frame:
            if isinstance(message, Synced):
                messages += map(deletion_of, self._sync())
            else:
                _note(message, self._known)
                if self._repeated is not None:
                    _note(message, self._repeated)
            messages.append(message)
        return tuple(messages)

    def _sync(self) -> set[StateKey]:
        """Return the keys that are gone, and forget them."""
        if self._repeated is None:
            return set()
        gone = self._known - self._repeated
        self._known, self._repeated = self._repeated, None
        return gone


def _note(message: StateMessage, keys: set[StateKey]) -> None:
    if is_deletion(message):
        keys.discard(message.key)
    else:
        keys.add(message.key)
