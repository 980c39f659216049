"""What a publisher holds and what each of its subscribers still lacks, without sockets and threads.

The newest message of a key replaces the older ones. What is pending for a
subscriber is a set of keys, so that a slow one is sent only the newest message
of each, and memory is bounded by the state, not by the rate of change.
"""

from collections import OrderedDict
from collections.abc import Iterable

from actors.link.messages import Pulse, StateKey, StateMessage, Synced, WireMessage, deletion_of, is_deletion

__all__ = ["FRAME", "Published", "View"]

FRAME = 1000  # messages in a frame, at most


class Published:
    """The newest message of every key; `synced` once that is the whole state."""

    def __init__(self) -> None:
        self.messages: dict[StateKey, StateMessage] = {}
        # how often the state has changed
        self.revision = 0
        self.synced = False
        self.views: set[View] = set()

    def __len__(self) -> int:
        """Return the number of keys."""
        return len(self.messages)

    def put(self, messages: Iterable[StateMessage], *, synced: bool) -> None:
        """Update the state; with `synced`, once, the state is complete from now on."""
        for message in messages:
            if self._replace(message):
                self.revision += 1
                for view in self.views:
                    view.pending[message.key] = None
        self.synced = self.synced or synced

    def pulse(self, known: float) -> None:
        """Have subscribers that know the whole state see that the publisher runs; for `known` see `Pulse`."""
        for view in self.views:
            view.pulse = Pulse(known) if view.synced else None

    def add_view(self) -> "View":
        """Return the view of a new subscriber, to which the whole state is to be sent."""
        view = View(self)
        self.views.add(view)
        return view

    def remove_view(self, view: "View") -> None:
        """Forget a subscriber that has disconnected; do nothing if it was forgotten before."""
        self.views.discard(view)

    def _replace(self, message: StateMessage) -> bool:
        """Store the message, or delete its key; return whether that changes the state."""
        old = self.messages.get(message.key)
        if is_deletion(message):
            return self.messages.pop(message.key, None) is not None
        self.messages[message.key] = message
        return old != message


class View:
    """What one subscriber was sent, and the keys that are pending for it."""

    def __init__(self, published: Published) -> None:
        self._published = published
        self.pending: OrderedDict[StateKey, None] = OrderedDict.fromkeys(published.messages)
        self._sent: set[StateKey] = set()
        self.synced = False
        # the newest pulse that was not sent
        self.pulse: Pulse | None = None

    @property
    def waiting(self) -> bool:
        """Whether there is anything to send."""
        return bool(self.pending) or self.pulse is not None or (self._published.synced and not self.synced)

    def frame(self) -> list[WireMessage]:
        """Return the messages of the next frame; they are no longer pending. Empty: there is nothing to send."""
        messages: list[WireMessage] = []
        while self.pending and len(messages) < FRAME:
            key, _ = self.pending.popitem(last=False)
            message = self._published.messages.get(key)
            if message is not None:
                self._sent.add(key)
                messages.append(message)
            elif key in self._sent:
                self._sent.discard(key)
                messages.append(deletion_of(key))
        if self._published.synced and not self.synced and not self.pending:
            self.synced = True
            messages.append(Synced(self._published.revision))
        if self.pulse is not None and not self.pending:
            messages.append(self.pulse)
            self.pulse = None
        return messages
