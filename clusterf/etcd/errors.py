"""What a call to etcd fails with: the edge at which texts of etcd, and of who poses as one, enter."""

import re
from typing import Any

import grpc

from clusterf.lib.text import printable

__all__ = ["EtcdError", "rpc_error"]

_LARGER = re.compile(r"larger than max \((\d{1,15}) ")  # in what grpc says of a message that it does not take
_LONGEST = 300  # characters of a reason that etcd gave
_LONGEST_OF_ALL = 1000  # those of several endpoints


class EtcdError(Exception):
    """A call to etcd failed; the text says why, where it is known after `ENDPOINT: `, in one printable line.

    `compacted`: the revision asked for was compacted. `lease_gone`: the lease has expired or was revoked.
    `too_large`: the bytes of the reply, which exceeds what a message may hold; 1 if they are not known.
    """

    def __init__(self, reason: str, *, compacted: bool = False, lease_gone: bool = False, too_large: int = 0) -> None:
        super().__init__(printable(reason, _LONGEST_OF_ALL))
        self.compacted = compacted
        self.lease_gone = lease_gone
        self.too_large = too_large


def rpc_error(where: str, error: Any) -> EtcdError:
    """Return a `grpc.RpcError` of a call as an EtcdError; `where` is the endpoint, or what was called."""
    details = error.details() or ""
    # (etcd says the like of requests and of its own store)
    exhausted = error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED and "etcdserver" not in details
    return EtcdError(
        f"{where}: {error.code().name.lower()}: {printable(details, _LONGEST)}",
        # a revision that is yet to come has the same code
        compacted=error.code() is grpc.StatusCode.OUT_OF_RANGE and "compacted" in details,
        lease_gone=error.code() is grpc.StatusCode.NOT_FOUND,
        too_large=_size(details) if exhausted else 0,
    )


def _size(details: str) -> int:
    found = _LARGER.search(details)
    return max(1, int(found[1])) if found else 1
