"""Polling the sockets of probes, as one descriptor of the event loop.

That is an epoll set of its own. To watch a descriptor for one event costs an
event loop half a dozen system calls and some objects, a quarter of a TCP probe;
here it is one call, and none at the end, as the kernel removes a closed socket.
"""

import asyncio
import select
from collections.abc import Callable

from clusterf.health.probes.costs import Costs, Payer

__all__ = ["Poller"]


class Poller:
    """Calls back, from the loop, for sockets that are ready. To be used in the loop's thread only.

    Each call is paid for by the probe that the socket is of.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, costs: Costs) -> None:
        self._loop = loop
        self._costs = costs
        self._epoll = select.epoll()
        self._waiting: dict[int, tuple[Payer, Callable[[], None]]] = {}
        loop.add_reader(self._epoll.fileno(), self._poll)

    def watch(self, payer: Payer, descriptor: int, events: int, ready: Callable[[], None]) -> None:
        """Call `ready` whenever the socket of `payer` is ready for one of `events` (epoll's), or has failed.

        This replaces what the socket was watched for before. Raises OSError.
        """
        if descriptor in self._waiting:
            self._epoll.modify(descriptor, events)
        else:
            self._epoll.register(descriptor, events)
        self._waiting[descriptor] = payer, ready

    def forget(self, descriptor: int) -> None:
        """Stop watching a socket. The caller closes it next, and it has no duplicate."""
        self._waiting.pop(descriptor, None)

    def close(self) -> None:
        """Stop watching all sockets."""
        self._waiting.clear()
        if not self._epoll.closed:
            self._loop.remove_reader(self._epoll.fileno())
            self._epoll.close()

    def _poll(self) -> None:
        for descriptor, _ in self._epoll.poll(0):
            # an earlier callback may have ended this probe, or closed the poller
            payer, ready = self._waiting.get(descriptor, (None, None))
            if ready is not None:
                self._costs.enter(payer)
                ready()
        self._costs.leave()
