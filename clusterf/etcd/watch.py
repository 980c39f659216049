"""A watch on a prefix of etcd."""

from collections.abc import Iterator, Sequence
from queue import SimpleQueue
from typing import Any, NamedTuple

import grpc

from clusterf.etcd.channel import EtcdError, described, prefix_end
from clusterf.etcd.stubs import etcdrpc

__all__ = ["Event", "Watch"]

# "progress_request" of a WatchRequest, which etcd has had since 3.4, after etcd3's description of it was made
_PROGRESS_REQUEST = b"\x1a\x00"


class Event(NamedTuple):
    """A key below the prefix, without it, and its value since `revision`; None: it was deleted."""

    path: bytes
    value: bytes | None
    revision: int


class Watch:
    """The changes below a prefix, in order. Iterate in one thread; `cancel` and `ask_progress` from any."""

    def __init__(self, channel: Any, metadata: Sequence[tuple[str, str]], prefix: bytes, revision: int) -> None:
        self._prefix = prefix
        self._requests: SimpleQueue[Any] = SimpleQueue()
        self._requests.put(
            etcdrpc.WatchRequest(
                create_request=etcdrpc.WatchCreateRequest(
                    key=prefix, range_end=prefix_end(prefix), start_revision=revision, progress_notify=True
                )
            )
        )
        # a member that has lost its leader ends the stream rather than to fall silent
        self._stream = etcdrpc.WatchStub(channel).Watch(
            iter(self._requests.get, None), metadata=[*metadata, ("hasleader", "true")]
        )
        # however it ends: grpc has a thread that waits for requests
        self._stream.add_done_callback(lambda _: self._requests.put(None))

    def __iter__(self) -> Iterator[list[Event]]:
        """Yield the events of each message; an empty list is a sign of life. Raises EtcdError, in the end always."""
        try:
            for message in self._stream:
                if message.canceled:
                    compacted = message.compact_revision > 0
                    reason = "its revision was compacted" if compacted else message.cancel_reason or "cancelled by etcd"
                    raise EtcdError(f"watch: {reason}", compacted=compacted)
                yield [self._event(event) for event in message.events]
        except grpc.RpcError as error:
            raise described("watch", error) from None
        raise EtcdError("watch: ended by etcd")

    def ask_progress(self) -> None:
        """Ask for a sign of life, which etcd gives from 3.4 on when it has told all it knows."""
        request = etcdrpc.WatchRequest()
        request.MergeFromString(_PROGRESS_REQUEST)
        self._requests.put(request)

    def cancel(self) -> None:
        """End the iteration."""
        self._requests.put(None)
        self._stream.cancel()

    def _event(self, event: Any) -> Event:
        deleted = event.type == event.DELETE
        path = event.kv.key.removeprefix(self._prefix)
        return Event(path, None if deleted else event.kv.value, event.kv.mod_revision)
