"""Transactions of etcd: how much fits into one, and the operations that depend on who owns a key.

A key is owned by the lease that it is attached to.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from clusterf.etcd.stubs import etcdrpc

__all__ = [
    "BYTES",
    "OPERATIONS",
    "batches",
    "delete_operation",
    "put_if",
    "put_if_owned",
    "put_operation",
    "unleased",
]

OPERATIONS = 126  # in a transaction: etcd takes 128 (--max-txn-ops), one of them for the level of a condition
BYTES = 1 << 20  # of paths and values in a transaction, about; etcd takes 1.5 MiB (--max-request-bytes)
_OVERHEAD = 300  # bytes of an operation beside path and value, with a prefix of usual length


def batches(writes: Iterable[tuple[bytes, bytes | None]]) -> Iterator[list[tuple[bytes, bytes | None]]]:
    """Yield paths and values, None for a deletion, in order, in lists that each fit into one transaction.

    A write that exceeds BYTES is alone in its list: etcd decides whether to refuse it.
    """
    batch: list[tuple[bytes, bytes | None]] = []
    size = 0
    for path, value in writes:
        cost = len(path) + len(value or b"") + _OVERHEAD
        if batch and (len(batch) == OPERATIONS or size + cost > BYTES):
            yield batch
            batch, size = [], 0
        batch.append((path, value))
        size += cost
    if batch:
        yield batch


def put_operation(name: bytes, value: bytes, lease: int = 0) -> Any:
    """Return the operation that sets a key, attached to the lease; 0: to none."""
    return etcdrpc.RequestOp(request_put=etcdrpc.PutRequest(key=name, value=value, lease=lease))


def delete_operation(name: bytes, lease: int = 0) -> Any:
    """Return the operation that deletes a key; with a lease only while the key is attached to it."""
    deletion = etcdrpc.RequestOp(request_delete_range=etcdrpc.DeleteRangeRequest(key=name))
    return _if(_owned_by(lease, name), deletion) if lease else deletion


def put_if(name: bytes, value: bytes, lease: int, *, on: int, revision: int = 0) -> Any:
    """Return the operation that sets a key on the lease, if it is on the lease `on` now, 0: on none, or absent.

    With a revision it is set if that is its last one. Else the operation says what the key is, without its value.
    """
    operation = put_operation(name, value, lease)
    if not revision:
        return _if(_owned_by(on, name), operation, _look_at(name))
    last = etcdrpc.Compare(key=name, target=etcdrpc.Compare.MOD, result=etcdrpc.Compare.EQUAL, mod_revision=revision)
    return _if(last, operation, _look_at(name))


def unleased(operation: Any) -> Any:
    """Return the operation that puts or deletes a key only if it is absent, or attached to no lease."""
    kind = operation.WhichOneof("request")
    return _if(_owned_by(0, getattr(operation, kind).key), operation)


def put_if_owned(name: bytes, value: bytes, lease: int) -> Any:
    """Return the transaction that sets a key while it is attached to the lease."""
    return etcdrpc.TxnRequest(compare=[_owned_by(lease, name)], success=[put_operation(name, value, lease)])


def _owned_by(lease: int, name: bytes) -> Any:
    return etcdrpc.Compare(key=name, target=etcdrpc.Compare.LEASE, result=etcdrpc.Compare.EQUAL, lease=lease)


def _if(condition: Any, operation: Any, otherwise: Any = None) -> Any:
    failure = [] if otherwise is None else [otherwise]
    transaction = etcdrpc.TxnRequest(compare=[condition], success=[operation], failure=failure)
    return etcdrpc.RequestOp(request_txn=transaction)


def _look_at(name: bytes) -> Any:
    return etcdrpc.RequestOp(request_range=etcdrpc.RangeRequest(key=name, keys_only=True))
