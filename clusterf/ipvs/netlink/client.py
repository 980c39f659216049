"""The kernel's IPVS, over generic netlink.

`family` finds the number of the family, `services` and `destinations` encode requests and
decode answers, and `channel` sends requests in bulk.
"""

import errno
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from clusterf.ipvs.kernel import Unavailable
from clusterf.ipvs.netlink.channel import Channel
from clusterf.ipvs.netlink.destinations import decode_connections, decode_destination
from clusterf.ipvs.netlink.family import MISSING, find_family
from clusterf.ipvs.netlink.services import Command, decode_virtual, encode_key, encode_step
from clusterf.ipvs.table import (
    ConnectionCount,
    RealServer,
    RealServerSettings,
    Step,
    Table,
    VirtualServer,
    VirtualServerSettings,
    VirtualServerState,
)

__all__ = ["NetlinkIpvs", "open_kernel"]

T = TypeVar("T")

_DUMP_ATTEMPTS = 5

_UNAVAILABLE = {
    errno.ENOENT: MISSING,
    errno.EPERM: "the capability CAP_NET_ADMIN is missing: IPVS refuses every command without it",
}


def open_kernel(deadline: float = 10.0) -> "NetlinkIpvs":
    """Return the kernel's IPVS, after one request that has succeeded; `deadline` is in seconds.

    Raises Unavailable if the kernel has no IPVS, or the process no permission.
    """
    try:
        return NetlinkIpvs(deadline)
    except OSError as error:
        code = error.errno or 0
        raise Unavailable(_UNAVAILABLE.get(code, f"IPVS cannot be reached over netlink: {error}")) from error


class NetlinkIpvs:
    """The `Kernel` of this network namespace.

    A method waits at most `deadline` seconds for the kernel's answers. When one raises
    OSError, it is unknown how much of it was done: read again. Not for several
    threads at a time.

    Virtual servers of protocols other than TCP, UDP and SCTP are not read, and so
    never compared or changed.

    The module may be unloaded and loaded again meanwhile: without it every method
    raises OSError (ENOENT).

    The constructor raises OSError: ENOENT without IPVS, EPERM without CAP_NET_ADMIN.
    """

    def __init__(self, deadline: float = 10.0) -> None:
        self._deadline = deadline
        self._channel = Channel(find_family(deadline), deadline)
        try:
            self._channel.ask(Command.GET_INFO, b"", bytes)
        except OSError:
            self.close()
            raise

    def read(self) -> Table:
        """Return all virtual servers with all of their real servers.

        Not a snapshot: it may contain a part of the changes that others make meanwhile.
        """
        table = Table()
        for virtual, settings in self.read_virtuals().items():
            reals = self._reals(virtual)
            if reals is not None:
                table.virtuals[virtual] = settings
                table.reals[virtual] = reals
        return table

    def read_virtuals(self) -> dict[VirtualServer, VirtualServerSettings]:
        """Return all virtual servers without their real servers.

        A dump continues by position from one message to the next. When the kernel
        rearranges its hash table in between, some virtual servers come twice
        and as many not at all, which shows in nothing else
        (`ip_vs_genl_dump_services`; the table of newer kernels grows and shrinks).
        """
        for _ in range(_DUMP_ATTEMPTS):
            found = [virtual for virtual in self._dump(Command.GET_SERVICE, b"", decode_virtual) if virtual is not None]
            virtuals = dict(found)
            if len(virtuals) == len(found):
                return virtuals
        raise OSError(errno.EAGAIN, "the kernel rearranged its table during each dump of it")

    def read_virtual(self, virtual: VirtualServer) -> VirtualServerState | None:
        """Return one virtual server with its real servers, None if it does not exist."""
        settings = self._settings(virtual)
        reals = None if settings is None else self._reals(virtual)
        return None if settings is None or reals is None else (settings, reals)

    def connections(self, virtual: VirtualServer) -> Mapping[RealServer, ConnectionCount]:
        """Return how many connections each real server of `virtual` has."""
        return dict(self._dump(Command.GET_DEST, encode_key(virtual), decode_connections))

    def apply(self, steps: Sequence[Step]) -> list[int]:
        """Apply the steps in order; return an errno for each, 0 for success."""
        errors = self._channel.batch(map(encode_step, steps))
        if set(errors) == {errno.ENOENT} and self._moved():
            raise OSError(errno.ENOENT, "the kernel module ip_vs was reloaded")
        return errors

    def flush(self) -> None:
        """Remove every virtual server."""
        self._ask(Command.FLUSH, b"", bytes)

    def close(self) -> None:
        """Close the socket; the table stays as it is."""
        self._channel.close()

    def _settings(self, virtual: VirtualServer) -> VirtualServerSettings | None:
        try:
            found = self._ask(Command.GET_SERVICE, encode_key(virtual), decode_virtual)
        except OSError as error:
            if error.errno == errno.ESRCH:
                return None
            raise
        return next((settings for _, settings in filter(None, found)), None)

    def _reals(self, virtual: VirtualServer) -> dict[RealServer, RealServerSettings] | None:
        """Return the real servers of `virtual`, None if it does not exist.

        The kernel's dump is empty, without an error, for a virtual server that is gone.
        """
        found = dict(self._dump(Command.GET_DEST, encode_key(virtual), decode_destination))
        return None if not found and self._settings(virtual) is None else found

    def _ask(self, command: Command, payload: bytes, decode: Callable[[bytes], T]) -> list[T]:
        return self._query(self._channel.ask, command, payload, decode)

    def _dump(self, command: Command, payload: bytes, decode: Callable[[bytes], T]) -> list[T]:
        return self._query(self._channel.dump, command, payload, decode)

    def _query(
        self,
        query: Callable[[int, bytes, Callable[[bytes], T]], list[T]],
        command: Command,
        payload: bytes,
        decode: Callable[[bytes], T],
    ) -> list[T]:
        """Query, and once more if the family has a new number. Only that makes a query fail with ENOENT."""
        try:
            return query(command, payload, decode)
        except OSError as error:
            if error.errno != errno.ENOENT or not self._moved():
                raise
        return query(command, payload, decode)

    def _moved(self) -> bool:
        """Look up the family; tell whether it has a new number. Raises OSError (ENOENT) if it is gone."""
        family = find_family(self._deadline)
        moved = family != self._channel.family
        self._channel.family = family
        return moved
