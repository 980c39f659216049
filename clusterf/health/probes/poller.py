"""The sockets of probes that wait for the other side: to the event loop, they are one descriptor.

That is an epoll set of their own. For a loop, a descriptor that is watched for
one event is half a dozen system calls and some objects, a quarter of what a TCP
probe costs; here it is one call, and none in the end, as the kernel itself
forgets a socket that is closed.
"""

import asyncio
import select
from collections.abc import Callable

__all__ = ["Poller"]


class Poller:
    """Tells, from the loop, who can go on. To be used in the loop's thread only."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._epoll = select.epoll()
        self._waiting: dict[int, Callable[[], None]] = {}
        loop.add_reader(self._epoll.fileno(), self._look)

    def watch(self, descriptor: int, events: int, ready: Callable[[], None]) -> None:
        """Call `ready` whenever the socket is ready for one of `events`, which are epoll's, or has failed.

        That takes the place of what it was watched for before. Raises OSError.
        """
        if descriptor in self._waiting:
            self._epoll.modify(descriptor, events)
        else:
            self._epoll.register(descriptor, events)
        self._waiting[descriptor] = ready

    def forget(self, descriptor: int) -> None:
        """Watch a socket no more, which is to be closed at once, and is nobody else's."""
        self._waiting.pop(descriptor, None)

    def close(self) -> None:
        """Watch nothing any more."""
        self._waiting.clear()
        if not self._epoll.closed:
            self._loop.remove_reader(self._epoll.fileno())
            self._epoll.close()

    def _look(self) -> None:
        for descriptor, _ in self._epoll.poll(0):
            # those before it may have put an end to it, and to all
            ready = self._waiting.get(descriptor)
            if ready is not None:
                ready()
