"""The kernel's IPVS, over generic netlink.

pyroute2 finds the family; the requests are encoded by
`clusterf.netlink_codec` and sent in bulk by `clusterf.netlink_channel`.
"""

import errno
from collections.abc import Mapping, Sequence

from clusterf.kernel import Unavailable, VirtualServerState
from clusterf.netlink_channel import Channel
from clusterf.netlink_codec import (
    Command,
    decode_connections,
    decode_real,
    decode_virtual,
    encode,
    encode_key,
)
from clusterf.table import (
    RealServer,
    RealServerSettings,
    Step,
    Table,
    VirtualServer,
    VirtualServerSettings,
)

__all__ = ["NetlinkKernel", "open_kernel"]

_UNAVAILABLE = {
    errno.ENOENT: "the kernel module ip_vs is missing: load it with modprobe ip_vs",
    errno.EPERM: "the capability CAP_NET_ADMIN is missing: IPVS takes no command without it",
}


def open_kernel(deadline: float = 10.0) -> "NetlinkKernel":
    """Return the kernel's IPVS, known to work.

    Raises Unavailable if it is not in the kernel or not allowed to us.
    """
    try:
        return NetlinkKernel(deadline)
    except OSError as error:
        code = error.errno or 0
        raise Unavailable(_UNAVAILABLE.get(code, f"IPVS cannot be reached over netlink: {error}")) from error


class NetlinkKernel:
    """The `Kernel` of this network namespace.

    Each exchange with the kernel ends within `deadline` seconds. Where a
    method raises OSError, it is unknown how much of it was done: read again.
    To be used by one thread at a time.

    Virtual servers of protocols other than TCP, UDP and SCTP are left alone:
    they are not read, so nothing is ever compared with them.

    To open it raises OSError: ENOENT without IPVS, EPERM without CAP_NET_ADMIN.
    """

    def __init__(self, deadline: float = 10.0) -> None:
        self._channel = Channel(_family(), deadline)
        try:
            self._channel.ask(Command.GET_INFO, b"", bytes)
        except OSError:
            self.close()
            raise

    def read(self) -> Table:
        """Return all virtual servers with all of their real servers.

        Not a snapshot: of what somebody else changes meanwhile it may have a part.
        """
        table = Table()
        for virtual, settings in self.read_virtuals().items():
            reals = self._reals(virtual)
            if reals is not None:
                table.virtuals[virtual] = settings
                table.reals[virtual] = reals
        return table

    def read_virtuals(self) -> dict[VirtualServer, VirtualServerSettings]:
        """Return all virtual servers without their real servers."""
        found = self._channel.dump(Command.GET_SERVICE, b"", decode_virtual)
        return dict(virtual for virtual in found if virtual is not None)

    def read_virtual(self, virtual: VirtualServer) -> VirtualServerState | None:
        """Return one virtual server with its real servers, None if it does not exist."""
        settings = self._settings(virtual)
        reals = None if settings is None else self._reals(virtual)
        return None if settings is None or reals is None else (settings, reals)

    def connections(self, virtual: VirtualServer) -> Mapping[RealServer, int]:
        """Return the active connections of each real server of `virtual`."""
        return dict(self._channel.dump(Command.GET_DEST, encode_key(virtual), decode_connections))

    def apply(self, steps: Sequence[Step]) -> list[int]:
        """Do the steps in order; return an errno for each, 0 where it is done."""
        return self._channel.batch(map(encode, steps))

    def flush(self) -> None:
        """Remove every virtual server."""
        self._channel.ask(Command.FLUSH, b"", bytes)

    def close(self) -> None:
        """Close the socket; the table stays as it is."""
        self._channel.close()

    def _settings(self, virtual: VirtualServer) -> VirtualServerSettings | None:
        try:
            found = self._channel.ask(Command.GET_SERVICE, encode_key(virtual), decode_virtual)
        except OSError as error:
            if error.errno == errno.ESRCH:
                return None
            raise
        return next((settings for _, settings in filter(None, found)), None)

    def _reals(self, virtual: VirtualServer) -> dict[RealServer, RealServerSettings] | None:
        """Return the real servers of `virtual`, None if it does not exist.

        The kernel's dump gives nothing, and no error, for a virtual server that is gone.
        """
        found = dict(self._channel.dump(Command.GET_DEST, encode_key(virtual), decode_real))
        return None if not found and self._settings(virtual) is None else found


def _family() -> int:
    """Return the number of the IPVS family; raises OSError (ENOENT) if the kernel has none."""
    # loading pyroute2 costs 0.3 s and 20 MB, so only who opens a kernel pays for it
    from pyroute2.netlink import genlmsg  # noqa: PLC0415
    from pyroute2.netlink.exceptions import NetlinkError  # noqa: PLC0415
    from pyroute2.netlink.generic import GenericNetlinkSocket  # noqa: PLC0415

    with GenericNetlinkSocket() as channel:
        channel.asyncore.module_err_level = "debug"  # what is missing is for the caller to say
        try:
            channel.bind("IPVS", genlmsg)
        except NetlinkError as error:
            raise OSError(error.code, str(error)) from error
        return int(channel.prid)
