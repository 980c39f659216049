"""Reading many keys in requests of which no answer is too large, whatever etcd has, or says that it has.

A prefix is read page by page. If a page exceeds what a message may hold, half as many keys
are asked for, until there is one, whose value is then too large: it is reported as
`Oversized`, so that one key does not hide the others. Keys must go up within the range,
and what is read as a whole is bounded in keys, bytes and time: a server that always has more
to send is an EtcdError.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from clusterf.etcd.errors import EtcdError
from clusterf.etcd.location import prefix_end
from clusterf.etcd.replies import header_of, responses_of
from clusterf.etcd.stubs import etcdrpc
from clusterf.etcd.transactions import OPERATIONS
from clusterf.etcd.values import Oversized, bounded, oversized

__all__ = ["MOST_BYTES", "MOST_KEYS", "Page", "RawKey", "pages", "read_keys"]

PAGE = 1000  # keys per request, at most
MOST_KEYS = 1_000_000  # below a prefix
MOST_BYTES = 1 << 28  # of their names and values, without those that are too large
LONGEST = 300.0  # seconds that reading a prefix may take

Ask = Callable[[Any], Any]
"""Sends a request and returns the reply. Raises EtcdError, with `too_large` if the reply exceeds a message."""


class RawKey(NamedTuple):
    """A key with its prefix, its value, and the lease that it is attached to; 0: none, or not known."""

    name: bytes
    value: bytes | Oversized
    lease: int


class Page(NamedTuple):
    """Some of the keys of a range, in order, whether there are more, and the revision and the cluster that replied."""

    keys: list[RawKey]
    more: bool
    revision: int
    cluster: int


def pages(ask: Ask, prefix: bytes, revision: int, max_value: int, *, keys_only: bool = False) -> Iterator[Page]:
    """Yield the pages that together hold all keys below the prefix at `revision`; 0: at the present one.

    With `keys_only` values are empty; others have at most `max_value` bytes. Raises EtcdError.
    """
    start, end = prefix, prefix_end(prefix)
    limit, keys, size = PAGE, 0, 0
    too_late = time.monotonic() + LONGEST
    more = True
    while more:
        request = etcdrpc.RangeRequest(key=start, range_end=end, limit=limit, revision=revision, keys_only=keys_only)
        page = _page(ask, request, max_value)
        if page is None:
            limit //= 2
            continue
        keys += len(page.keys)
        size += sum(map(_size, page.keys))
        if keys > MOST_KEYS or size > MOST_BYTES or time.monotonic() > too_late:
            raise EtcdError(f"too much below the prefix: {keys} keys, {size} bytes, and no end")
        yield page
        limit = min(PAGE, 2 * limit)
        revision = revision or page.revision
        more = page.more
        start = page.keys[-1].name + b"\0" if page.keys else start


def read_keys(ask: Ask, names: Sequence[bytes], max_value: int) -> Iterator[RawKey]:
    """Yield those of the keys `names` that exist; a value that alone exceeds a message is Oversized.

    Raises EtcdError.
    """
    rest, count = list(names), OPERATIONS
    while rest:
        batch = rest[:count]
        reads = [etcdrpc.RequestOp(request_range=etcdrpc.RangeRequest(key=name)) for name in batch]
        try:
            reply = ask(etcdrpc.TxnRequest(success=reads))
        except EtcdError as error:
            if not error.too_large:
                raise
            if len(batch) > 1:
                count = len(batch) // 2
                continue
            yield RawKey(batch[0], oversized(_value_size(error.too_large, max_value), max_value), 0)
        else:
            for name, response in zip(batch, responses_of(reply, reads), strict=True):
                yield from _one(name, response.response_range.kvs, max_value)
        rest = rest[len(batch) :]


def _value_size(message: int, max_value: int) -> int:
    """Return about how large a value is that exceeds a message, given the size of that."""
    return message if message > max_value else 0


def _one(name: bytes, found: Sequence[Any], max_value: int) -> Iterator[RawKey]:
    if len(found) > 1 or any(kv.key != name for kv in found):
        raise EtcdError("invalid reply: keys that were not asked for")
    for kv in found:
        yield RawKey(name, bounded(kv.value, max_value), kv.lease)


def _size(key: RawKey) -> int:
    return len(key.name) + (0 if isinstance(key.value, Oversized) else len(key.value))


def _page(ask: Ask, request: Any, max_value: int) -> Page | None:
    """Return the page that was asked for; None: fewer keys must be asked for. Raises EtcdError."""
    try:
        return _checked(ask(request), request, max_value)
    except EtcdError as error:
        if not error.too_large:
            raise
        if request.limit > 1:
            return None
        if request.keys_only:
            raise
        request.keys_only = True
        page = _checked(ask(request), request, max_value)
        value = oversized(_value_size(error.too_large, max_value), max_value)
        return page._replace(keys=[key._replace(value=value) for key in page.keys])


def _checked(reply: Any, request: Any, max_value: int) -> Page:
    """Return the page that the reply holds. Raises EtcdError."""
    header = header_of(reply)
    least = request.key
    for kv in reply.kvs:
        if not least <= kv.key < request.range_end:
            raise EtcdError("invalid reply: keys out of order, or outside of the prefix")
        least = kv.key + b"\0"
    if len(reply.kvs) > request.limit or (reply.more and not reply.kvs):
        raise EtcdError("invalid reply: more keys than asked for, or none although there are more")
    keys = [RawKey(kv.key, bounded(kv.value, max_value), kv.lease) for kv in reply.kvs]
    return Page(keys, reply.more, header.revision, header.cluster_id)
