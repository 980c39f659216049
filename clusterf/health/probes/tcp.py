"""A TCP probe: whether a connection is accepted.

It uses a plain socket, at a third of the cost of a transport, and closes it in a
way that leaves nothing behind on either side:

* SO_LINGER of 0 ends the connection by a reset. So there is no TIME_WAIT, of
  which probes of 10,000 targets would leave 300,000, and the local port is free.
* TCP_QUICKACK off lets the kernel delay the last packet of the handshake, in
  case there is data to go with it. A probe that only connects has reset the
  connection by then, so the target's kernel drops it and, in most cases, the
  server never sees it. Otherwise some servers would log a reset for each probe,
  or count it against this machine's address until they block it, as MySQL does.
  HAProxy probes in the same way.
"""

import asyncio
import socket
import struct
from collections.abc import Callable
from errno import EALREADY, EINPROGRESS, EISCONN
from select import EPOLLOUT
from typing import Final

from clusterf.health.probes.base import Probe
from clusterf.health.probes.pauses import Pauses
from clusterf.health.probes.poller import Poller
from clusterf.health.targets import Target
from clusterf.health.verdict import ProbeResult

__all__ = ["SOCKET_TYPE", "TcpProbe", "new_socket", "set_up", "source_of"]

SOCKET_TYPE: Final = socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
_AT_ONCE: Final = struct.pack("ii", 1, 0)
_IP_BIND_ADDRESS_NO_PORT: Final = 24  # since Python 3.12 in socket
_PENDING: Final = {EALREADY, EINPROGRESS}


def new_socket(family: int, source: str | None) -> socket.socket:
    """Return a TCP socket that does not block and closes by a reset, bound to `source`. Raises OSError."""
    new = socket.socket(family, SOCKET_TYPE)
    set_up(new, source)
    return new


def set_up(new: socket.socket, source: str | None) -> None:
    """Have a new socket close by a reset, and bind it to `source`. Raises OSError, and closes it then."""
    try:
        new.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
        new.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 0)
        if source is not None:
            # the local port is chosen on connect, so that one port can serve many targets
            new.setsockopt(socket.IPPROTO_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
            new.bind((source, 0))
    except OSError:
        new.close()
        raise


def source_of(target: Target) -> str | None:
    """Return the address to probe `target` from, None: any."""
    source = target.check.source4 if len(target.endpoint.packed) == 4 else target.check.source6
    return None if source is None else str(source)


class TcpProbe(Probe):
    """Connects. Probes that use the connection override `_connected`."""

    __slots__ = ("_address", "_descriptor", "_poller", "_socket")

    # None before it is open and once it is closed
    _socket: socket.socket | None

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        target: Target,
        ended: Callable[[Probe, ProbeResult], None],
        pauses: Pauses,
        poller: Poller,
    ) -> None:
        super().__init__(loop, target, ended, pauses)
        self._poller = poller

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
        self._poller.watch(self, self._descriptor, EPOLLOUT, self._connect_done)

    def _connect_done(self) -> None:
        assert self._socket is not None
        # connecting again returns the result of the first attempt, and a spurious wake-up is not taken for a success
        error = self._socket.connect_ex(self._address)
        if error in _PENDING:
            return
        if error and error != EISCONN:
            self._fail_by(error)
        else:
            self._connected()

    def _connected(self) -> None:
        assert self._socket is not None
        # on a local address, the port of the target may be chosen as the source port: the socket connects to itself
        if self._socket.getsockname()[:2] == self._address:
            self._fail("refused")
        else:
            self._succeed()

    def _release(self) -> None:
        if self._socket is not None:
            self._poller.forget(self._descriptor)
            self._socket.close()
            self._socket = None
