"""Links between simulated processes: the real cores of both ends, and between them a wire that delays and breaks.

`Publisher` and `Subscription` stand in for those of `actors.link`, whose sockets and
threads are all that is left out.
"""

from collections import deque
from collections.abc import Callable, Iterable

import msgspec

from actors.link.messages import Received, StateMessage, WireMessage
from actors.link.published import Published, View
from actors.link.received import CREDIT, ReceivedKeys
from clusterf.lib.backoff import Backoff
from clusterf.lib.msgpack import dec_hook, enc_hook
from tests.sim.process import present

__all__ = ["Publisher", "Subscription"]

DELAY = 0.0005  # seconds that a frame is under way, on average
IN_FLIGHT = 2  # frames that fit into the buffers of a socket

_encoder = msgspec.msgpack.Encoder(enc_hook=enc_hook)
_decoder = msgspec.msgpack.Decoder(list[WireMessage], dec_hook=dec_hook)


class Publisher:
    """The publishing end of the link called `name`."""

    def __init__(self, name: str, links: object) -> None:
        self.process = present()
        self._name = name
        self._published = Published()
        self._connections: list[_Connection] = []

    def start(self) -> None:
        """Accept subscribers, in place of an earlier publisher."""
        self.process.node.publishers[self._name] = self
        self.process.on_death.append(self.disconnect)

    def stop(self) -> None:
        """Close all connections."""
        self.process.node.publishers.pop(self._name, None)
        self.disconnect()

    def publish(self, messages: Iterable[StateMessage], *, synced: bool) -> None:
        """Update the state."""
        self._published.put(messages, synced=synced)
        for connection in self._connections:
            connection.send_soon()

    def pulse(self, known: float) -> None:
        """Show that the process runs."""
        self._published.pulse(known)
        for connection in self._connections:
            connection.send_soon()

    def __len__(self) -> int:
        return len(self._published)

    def accept(self, subscription: "Subscription") -> "_Connection":
        """Return a new connection."""
        connection = _Connection(self, subscription, self._published.add_view())
        self._connections.append(connection)
        connection.send_soon()
        return connection

    def forget(self, connection: "_Connection") -> None:
        """Forget a connection that is closed."""
        if connection in self._connections:
            self._connections.remove(connection)
            self._published.remove_view(connection.view)

    def disconnect(self) -> None:
        """Close all connections; subscribers come back."""
        for connection in list(self._connections):
            connection.close()


class _Connection:
    """A connected link: frames go from the view of the publisher to the subscription, each in its time."""

    def __init__(self, publisher: Publisher, subscription: "Subscription", view: View) -> None:
        self._publisher = publisher
        self._subscription = subscription
        self.view = view
        self._open = True
        self._sending = False
        # frames that have arrived and not been read, and how many are on the wire
        self.arrived: deque[bytes] = deque()
        self._on_wire = 0
        self._last = 0.0

    def close(self) -> None:
        """Break it: what is on the wire is lost."""
        if self._open:
            self._open = False
            self._publisher.forget(self)
            self._subscription.process.later(DELAY, lambda: self._subscription.lost(self))

    def send_soon(self) -> None:
        """Have the publisher's thread send what is pending."""
        if self._open and not self._sending and self.view.waiting:
            self._sending = True
            self._publisher.process.later(self._delay(0.2), self._send)

    def _send(self) -> None:
        self._sending = False
        if not self._open or self._on_wire + len(self.arrived) >= IN_FLIGHT:
            return
        messages = self.view.frame()
        if not messages:
            return
        frame = _encoder.encode(messages)
        self._on_wire += 1
        simulation = self._publisher.process.simulation
        self._last = max(self._last, simulation.now + self._delay(1.0))
        simulation.after(self._last - simulation.now, lambda: self._arrive(frame))
        self.send_soon()

    def _arrive(self, frame: bytes) -> None:
        self._on_wire -= 1
        if self._open:
            self.arrived.append(frame)
            self._subscription.process.later(0.0, self._subscription.read)

    def _delay(self, share: float) -> float:
        process = self._publisher.process
        return share * process.node.link_delay * DELAY * 2 * process.simulation.random.random()


class Subscription:
    """The subscribing end of a link: passes on frames, as credit allows, and reconnects for ever."""

    def __init__(
        self,
        name: str,
        links: object,
        tell: Callable[[Received], None],
        *,
        carries: object = None,
        longest: int | None = None,
        lost: Callable[[], None] = lambda: None,
    ) -> None:
        del carries, longest
        self.process = present()
        self.name = name
        self._tell = tell
        self._lost = lost
        self._keys = ReceivedKeys()
        self._credit = CREDIT
        self._backoff = Backoff(initial=0.02, longest=2)
        self._connection: _Connection | None = None
        self._stopping = False

    def start(self) -> None:
        """Connect."""
        self.process.on_death.append(self.stop)
        self.process.later(0.0, self._connect)

    def stop(self) -> None:
        """Disconnect, and do not reconnect."""
        self._stopping = True
        if self._connection is not None:
            self._connection.close()

    def acknowledge(self) -> None:
        """Give the credit of one frame back."""
        self._credit += 1
        self.process.later(0.0, self.read)

    def read(self) -> None:
        """Pass on the frames that have arrived."""
        while self._connection is not None and self._connection.arrived and self._credit and not self._stopping:
            frame = self._connection.arrived.popleft()
            self._credit -= 1
            messages = self._keys.receive(_decoder.decode(frame))
            self.process.node.received(self.name, self.process, messages)
            self._tell(Received(messages, self.name))
            self._connection.send_soon()

    def lost(self, connection: _Connection) -> None:
        """Reconnect after the loss of this connection."""
        if connection is self._connection and not self._stopping:
            self._connection = None
            self._lost()
            self.process.later(self._backoff.next(), self._connect)

    def _connect(self) -> None:
        if self._stopping:
            return
        publisher = self.process.node.publishers.get(self.name)
        if publisher is None or not publisher.process.alive or self.process.node.links_cut:
            self.process.later(self._backoff.next(), self._connect)
            return
        self._backoff.reset()
        self._keys.connected()
        self._connection = publisher.accept(self)
