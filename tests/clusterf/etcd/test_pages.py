"""What is read page by page, from an etcd that is broken or hostile; with a real one: tests/system/etcd."""

import itertools

import pytest

from clusterf.etcd import pages as module
from clusterf.etcd.errors import EtcdError
from clusterf.etcd.pages import PAGE, pages, read_keys
from clusterf.etcd.stubs import etcdrpc
from clusterf.etcd.values import Oversized

PREFIX = b"/clusterf/"
MESSAGE = 1000  # bytes of values that fit into a message here
MAX_VALUE = 400


def answer(keys=(), *, more=False, revision=7, header=True):
    """Return a reply with these names, or names and values."""
    reply = etcdrpc.RangeResponse(more=more)
    if header:
        reply.header.revision, reply.header.cluster_id = revision, 3
    for key in keys:
        name, value = key if isinstance(key, tuple) else (key, b"")
        reply.kvs.add(key=name, value=value)
    return reply


class Store:
    """An etcd with these values, whose replies hold at most MESSAGE bytes."""

    def __init__(self, values):
        self.values = {PREFIX + path: value for path, value in values.items()}
        self.requests = []

    def __call__(self, request):
        self.requests.append(request)
        names = sorted(name for name in self.values if request.key <= name < request.range_end)
        found = [(n, b"" if request.keys_only else self.values[n]) for n in names[: request.limit]]
        too_large(sum(len(value) for _, value in found))
        return answer(found, more=len(names) > request.limit)


def too_large(size):
    if size > MESSAGE:
        raise EtcdError("resource_exhausted", too_large=size)


def listed(ask, **options):
    return [key for page in pages(ask, PREFIX, 0, MAX_VALUE, **options) for key in page.keys]


def refused(ask, why):
    with pytest.raises(EtcdError, match=why):
        listed(ask)


@pytest.mark.parametrize(
    ("keys", "fields", "why"),
    [
        ([], {"more": True}, "none although there are more"),
        ([b"/other/a"], {}, "outside of the prefix"),
        ([b"/clusterf0"], {}, "outside of the prefix"),
        ([b"/clusterf"], {}, "outside of the prefix"),
        ([b""], {}, "outside of the prefix"),
        ([b"/clusterf/b", b"/clusterf/a"], {}, "out of order"),
        ([b"/clusterf/a", b"/clusterf/a"], {}, "out of order"),
        ([b"/clusterf/%06d" % number for number in range(PAGE + 1)], {}, "more keys than asked for"),
        ([b"/clusterf/a"], {"revision": -5}, "no revision"),
        ([b"/clusterf/a"], {"revision": 0}, "no revision"),
        ([b"/clusterf/a"], {"header": False}, "no revision"),
    ],
)
def test_reply_to_another_question_is_an_error(keys, fields, why):
    refused(lambda _: answer(keys, **fields), why)


def test_page_that_is_repeated_is_an_error():
    refused(lambda _: answer([b"/clusterf/a"], more=True), "out of order")


@pytest.mark.parametrize(("limit", "value"), [("MOST_KEYS", 100), ("MOST_BYTES", 5000), ("LONGEST", 0.05)])
def test_list_without_end_is_an_error(monkeypatch, limit, value):
    monkeypatch.setattr(module, limit, value)
    number = itertools.count()
    refused(lambda _: answer([b"/clusterf/%09d" % next(number)], more=True), "too much below the prefix")


def test_large_values_are_read_in_smaller_pages():
    store = Store({b"%03d" % number: bytes(300) for number in range(20)})
    assert [len(key.value) for key in listed(store)] == [300] * 20
    assert len(store.requests) < 60


def test_value_that_exceeds_a_message_is_reported_and_hides_no_other():
    store = Store({b"%03d" % number: b"1" for number in range(20)} | {b"011": bytes(300_000), b"013": bytes(500)})
    found = {key.name: key.value for key in listed(store)}
    assert len(found) == 20
    assert found.pop(b"/clusterf/011") == Oversized(300_000, MAX_VALUE, "--etcd-max-value")
    assert found.pop(b"/clusterf/013") == Oversized(500, MAX_VALUE, "--etcd-max-value")
    assert set(found.values()) == {b"1"}


def test_message_of_names_alone_that_is_too_large_is_an_error():
    def ask(_):
        too_large(MESSAGE + 1)

    refused(ask, "resource_exhausted")


def test_error_of_another_kind_is_not_retried():
    asked = []

    def ask(request):
        asked.append(request)
        raise EtcdError("unavailable")

    refused(ask, "unavailable")
    assert len(asked) == 1


def read(names, reply):
    return list(read_keys(reply, names, MAX_VALUE))


def responses(*found):
    reply = etcdrpc.TxnResponse(succeeded=True)
    for keys in found:
        reply.responses.add(response_range=answer(keys))
    return reply


@pytest.mark.parametrize(
    "reply",
    [
        responses([b"a"]),
        responses([b"a"], [b"b"], []),
        responses([b"a"], [b"c"]),
        responses([b"a"], [b"b", b"b"]),
        etcdrpc.TxnResponse(),
    ],
)
def test_keys_that_were_not_asked_for_are_an_error(reply):
    with pytest.raises(EtcdError, match="invalid reply"):
        read([b"a", b"b"], lambda _: reply)


def test_values_that_exceed_a_message_are_read_one_by_one():
    values = {b"a": bytes(300), b"b": bytes(1200), b"c": bytes(300), b"d": bytes(900)}

    def ask(request):
        names = [operation.request_range.key for operation in request.success]
        too_large(sum(len(values[name]) for name in names))
        return responses(*([(name, values[name])] for name in names))

    found = {key.name: key.value for key in read(list(values), ask)}
    assert found.pop(b"b") == Oversized(1200, MAX_VALUE, "--etcd-max-value")
    assert found.pop(b"d") == Oversized(900, MAX_VALUE, "--etcd-max-value")
    assert found == {b"a": bytes(300), b"c": bytes(300)}
