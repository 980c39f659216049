"""Watch with a server that replies as a test wants; with a real etcd: see tests/system/etcd."""

from contextlib import contextmanager

import grpc
import pytest

from clusterf.etcd.errors import EtcdError
from clusterf.etcd.stubs import etcdrpc
from clusterf.etcd.values import MAX_VALUE, Oversized
from clusterf.etcd.watch import Watch
from tests.clusterf.support.etcd_server import serving

PREFIX = b"/clusterf/"


@contextmanager
def watching(reply):
    """Yield a watch of a server that sends what `reply` yields for the requests, and ends the stream."""
    with (
        serving("Watch", "Watch", etcdrpc.WatchRequest, lambda requests, _: reply(requests), streams=True) as endpoint,
        grpc.insecure_channel(endpoint) as channel,
    ):
        yield Watch(channel, [], PREFIX, 7)


def message(*events, **fields):
    response = etcdrpc.WatchResponse(**fields)
    for kind, key, value, revision in events:
        event = response.events.add(type=kind)
        event.kv.key, event.kv.value, event.kv.mod_revision, event.kv.lease = key, value, revision, 99
    return response


def test_watch_asks_for_the_prefix_from_the_revision_on():
    asked = []

    def reply(requests):
        asked.append(next(requests).create_request)
        yield message()

    with watching(reply) as watch:
        assert next(iter(watch)) == []
    (request,) = asked
    assert (request.key, request.range_end, request.start_revision) == (PREFIX, b"/clusterf0", 7)
    assert request.progress_notify


def test_events_have_paths_below_the_prefix_and_none_for_deletions():
    put, delete = 0, 1

    def reply(_):
        yield message((put, b"/clusterf/a", b"1", 7), (delete, b"/clusterf/b", b"", 8))

    with watching(reply) as watch:
        assert next(iter(watch)) == [(b"a", b"1", 7, 99), (b"b", None, 8, 0)]


@pytest.mark.parametrize(
    ("kind", "key", "revision"),
    [
        (0, b"/other/a", 8),
        (1, b"/other/a", 8),
        (0, b"", 8),
        (7, b"/clusterf/a", 8),
        (1, b"/clusterf/a", 6),
        (1, b"/clusterf/a", 0),
        (1, b"/clusterf/a", -8),
    ],
)
def test_event_that_was_not_asked_for_is_an_error(kind, key, revision):
    with (
        watching(lambda _: iter([message((kind, key, b"", revision))])) as watch,
        pytest.raises(EtcdError, match="watch: invalid event"),
    ):
        next(iter(watch))


def test_event_before_the_last_one_is_an_error():
    events = [(0, b"/clusterf/a", b"", 9), (1, b"/clusterf/a", b"", 8)]
    with (
        watching(lambda _: iter([message(*events)])) as watch,
        pytest.raises(EtcdError, match="of revision 8 after 9"),
    ):
        next(iter(watch))


def test_value_over_the_limit_is_not_taken():
    with watching(lambda _: iter([message((0, b"/clusterf/a", bytes(MAX_VALUE + 1), 9))])) as watch:
        (event,) = next(iter(watch))
    assert event == (b"a", Oversized(MAX_VALUE + 1, MAX_VALUE, "--etcd-max-value"), 9, 99)


@pytest.mark.parametrize(
    ("fields", "reason", "compacted"),
    [
        ({"canceled": True, "compact_revision": 9}, "watch: revision compacted", True),
        ({"canceled": True}, "watch: cancelled by etcd", False),
        ({"canceled": True, "cancel_reason": "no\nipvs: x\x1b"}, r"watch: no\\x0aipvs: x\\x1b", False),
    ],
)
def test_cancelled_watch_raises_the_reason(fields, reason, compacted):
    with (
        watching(lambda _: iter([message(**fields)])) as watch,
        pytest.raises(EtcdError, match=f"^{reason}$") as failure,
    ):
        next(iter(watch))
    assert failure.value.compacted is compacted


def test_stream_that_ends_is_an_error():
    with watching(lambda _: iter([])) as watch, pytest.raises(EtcdError, match=r"^watch: ended by etcd$"):
        next(iter(watch))


def test_progress_request_is_sent_after_the_create_request():
    received = []

    def reply(requests):
        for request in requests:
            received.append(request.SerializeToString())
            yield message()

    with watching(reply) as watch:
        messages = iter(watch)
        next(messages)
        watch.request_progress()
        next(messages)
        watch.cancel()
    assert received[1] == b"\x1a\x00"


def test_cancel_ends_the_iteration():
    def reply(requests):
        for _ in requests:
            yield message()

    with watching(reply) as watch:
        messages = iter(watch)
        next(messages)
        watch.cancel()
        with pytest.raises(EtcdError, match="cancelled"):
            next(messages)
