"""What a call to etcd fails with."""

from typing import Any

import grpc

__all__ = ["EtcdError", "rpc_error"]


class EtcdError(Exception):
    """A call to etcd failed; the text says why, where it is known after `ENDPOINT: `.

    `compacted`: the revision asked for was compacted. `lease_gone`: the lease has expired or was revoked.
    """

    def __init__(self, reason: str, *, compacted: bool = False, lease_gone: bool = False) -> None:
        super().__init__(reason)
        self.compacted = compacted
        self.lease_gone = lease_gone


def rpc_error(where: str, error: Any) -> EtcdError:
    """Return a `grpc.RpcError` of a call as an EtcdError; `where` is the endpoint, or what was called."""
    return EtcdError(
        f"{where}: {error.code().name.lower()}: {error.details()}",
        # a revision that is yet to come has the same code
        compacted=error.code() is grpc.StatusCode.OUT_OF_RANGE and "compacted" in error.details(),
        lease_gone=error.code() is grpc.StatusCode.NOT_FOUND,
    )
