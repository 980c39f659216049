"""A TCP probe: whether a connection is accepted.

A plain socket, which is a third of the work that a transport is. It closes in
a way that costs neither side anything afterwards:

* SO_LINGER of 0 makes the end a reset. So there is no TIME_WAIT, of which
  probes of 10,000 targets would leave 300,000, and no local port stays taken.
* TCP_QUICKACK off lets the kernel keep the last packet of the handshake back
  for a moment, in the hope of data to go with it. A probe that only connects
  has reset the connection by then, so that the target's kernel takes it off
  its books and the program there, most often, never hears of it. Else some
  would log a reset for each probe, or count it against this machine's address
  until they refuse it, as MySQL does. HAProxy probes alike.
"""

import asyncio
import socket
import struct
from collections.abc import Callable
from errno import EALREADY, EINPROGRESS, EISCONN
from select import EPOLLOUT
from typing import Final

from clusterf.health.probes.base import Probe
from clusterf.health.probes.poller import Poller
from clusterf.health.targets import Target
from clusterf.health.verdict import ProbeResult

__all__ = ["TcpProbe", "new_socket", "source_of"]

_TYPE: Final = socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
_AT_ONCE: Final = struct.pack("ii", 1, 0)
_IP_BIND_ADDRESS_NO_PORT: Final = 24  # since Python 3.12 in socket
_PENDING: Final = {EALREADY, EINPROGRESS}


def new_socket(family: int, source: str | None) -> socket.socket:
    """Return a TCP socket that does not block and closes by a reset, bound to `source`. Raises OSError."""
    new = socket.socket(family, _TYPE)
    try:
        new.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
        new.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 0)
        if source is not None:
            # the port is chosen when the target is known, so that one port may serve many targets
            new.setsockopt(socket.IPPROTO_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
            new.bind((source, 0))
    except OSError:
        new.close()
        raise
    return new


def source_of(target: Target) -> str | None:
    """Return the address to probe `target` from, None: any."""
    source = target.check.source4 if len(target.endpoint.packed) == 4 else target.check.source6
    return None if source is None else str(source)


class TcpProbe(Probe):
    """Connects. What speaks on the connection overrides `_connected`."""

    __slots__ = ("_address", "_descriptor", "_socket", "_sockets")

    # None until there is one, and once it is closed
    _socket: socket.socket | None

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        target: Target,
        ended: Callable[[Probe, ProbeResult], None],
        sockets: Poller,
    ) -> None:
        super().__init__(loop, target, ended)
        self._sockets = sockets

    def _open(self) -> None:
        self._socket = None
        packed, port = self.target.endpoint.packed, self.target.endpoint.port
        family = socket.AF_INET if len(packed) == 4 else socket.AF_INET6
        self._address = (socket.inet_ntop(family, packed), port)
        self._socket = new_socket(family, source_of(self.target))
        self._descriptor = self._socket.fileno()
        error = self._socket.connect_ex(self._address)
        if error and error != EINPROGRESS:
            raise OSError(error, "")
        self._sockets.watch(self._descriptor, EPOLLOUT, self._answered)

    def _answered(self) -> None:
        assert self._socket is not None
        # to ask again tells how it went, and does not take a wake-up for nothing for a success
        error = self._socket.connect_ex(self._address)
        if error in _PENDING:
            return
        if error and error != EISCONN:
            self._fail_by(error)
        else:
            self._connected()

    def _connected(self) -> None:
        assert self._socket is not None
        # a local port that nobody listens on may be chosen as the source, too: a socket then connects to itself
        if self._socket.getsockname()[:2] == self._address:
            self._fail("refused")
        else:
            self._succeed()

    def _release(self) -> None:
        if self._socket is not None:
            self._sockets.forget(self._descriptor)
            self._socket.close()
            self._socket = None
