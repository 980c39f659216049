"""A watch on a prefix of etcd: one stream, until it breaks."""

from collections.abc import Iterator, Sequence
from queue import SimpleQueue
from typing import Any, NamedTuple

import grpc

from clusterf.etcd.errors import EtcdError, rpc_error
from clusterf.etcd.location import prefix_end
from clusterf.etcd.stubs import etcdrpc
from clusterf.etcd.values import MAX_VALUE, Oversized, bounded

__all__ = ["Event", "Watch"]

# WatchRequest.progress_request, encoded by hand: etcd 3.4 added it after the etcd3 package's descriptors were made
_PROGRESS_REQUEST = b"\x1a\x00"


class Event(NamedTuple):
    """A key below the prefix, without the prefix, and its value since `revision`; None: it was deleted.

    `lease`: the one that it is attached to, 0: none, or it was deleted.
    """

    path: bytes
    value: bytes | Oversized | None
    revision: int
    lease: int = 0


class Watch:
    """The changes below a prefix, in order. Iterate in one thread; any thread may `cancel` and `request_progress`."""

    def __init__(
        self,
        channel: Any,
        metadata: Sequence[tuple[str, str]],
        prefix: bytes,
        revision: int,
        max_value: int = MAX_VALUE,
    ) -> None:
        self._prefix = prefix
        self._max_value = max_value
        # the revision of the last event, before which none may come
        self._revision = revision
        self._requests: SimpleQueue[Any] = SimpleQueue()
        self._requests.put(
            etcdrpc.WatchRequest(
                create_request=etcdrpc.WatchCreateRequest(
                    key=prefix, range_end=prefix_end(prefix), start_revision=revision, progress_notify=True
                )
            )
        )
        # have a member without a leader end the stream, instead of going silent
        self._stream = etcdrpc.WatchStub(channel).Watch(
            iter(self._requests.get, None), metadata=[*metadata, ("hasleader", "true")]
        )
        # ends the grpc thread that reads requests
        self._stream.add_done_callback(lambda _: self._requests.put(None))

    def __iter__(self) -> Iterator[list[Event]]:
        """Yield the events of each message, an empty list for a progress notification, until an EtcdError."""
        try:
            for message in self._stream:
                if message.canceled:
                    compacted = message.compact_revision > 0
                    reason = "revision compacted" if compacted else message.cancel_reason or "cancelled by etcd"
                    raise EtcdError(f"watch: {reason}", compacted=compacted)
                yield [self._event(event) for event in message.events]
        except grpc.RpcError as error:
            raise rpc_error("watch", error) from None
        raise EtcdError("watch: ended by etcd")

    def request_progress(self) -> None:
        """Request a progress notification, which etcd 3.4 and later sends once all events are delivered."""
        request = etcdrpc.WatchRequest()
        request.MergeFromString(_PROGRESS_REQUEST)
        self._requests.put(request)

    def cancel(self) -> None:
        """End the iteration."""
        self._requests.put(None)
        self._stream.cancel()

    def _event(self, event: Any) -> Event:
        """Return one event. Raises EtcdError if it is not below the prefix, or older than the one before it."""
        name, revision = event.kv.key, event.kv.mod_revision
        if event.type not in (event.PUT, event.DELETE) or not name.startswith(self._prefix):
            raise EtcdError("watch: invalid event: not of a key below the prefix")
        if revision < self._revision:
            raise EtcdError(f"watch: invalid event: of revision {revision} after {self._revision}")
        self._revision = revision
        value = None if event.type == event.DELETE else bounded(event.kv.value, self._max_value)
        return Event(name.removeprefix(self._prefix), value, revision, event.kv.lease if value is not None else 0)
