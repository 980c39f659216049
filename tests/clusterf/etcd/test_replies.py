"""Replies of an etcd that is broken or hostile: each is an EtcdError, and nothing else."""

import pytest

from clusterf.etcd.errors import EtcdError
from clusterf.etcd.replies import check_token, granted, header_of, refusal_of, remaining, renewed, responses_of
from clusterf.etcd.stubs import etcdrpc
from clusterf.etcd.transactions import delete_operation, put_operation

HUGE = (1 << 63) - 1


@pytest.mark.parametrize("revision", [None, 0, -1, -HUGE, HUGE])
def test_reply_without_a_revision_is_an_error(revision):
    reply = etcdrpc.TxnResponse()
    if revision is not None:
        reply.header.revision = revision
    with pytest.raises(EtcdError, match="no revision"):
        header_of(reply)


@pytest.mark.parametrize(
    "fields",
    [
        *({"ID": 0, "TTL": 10}, {"ID": -1, "TTL": 10}, {"ID": 1, "TTL": -1}, {"ID": 1, "TTL": 9}),
        *({"ID": 1, "TTL": HUGE}, {"ID": 1, "TTL": 10, "error": "no"}, {}),
    ],
)
def test_lease_that_was_not_granted_as_asked_is_an_error(fields):
    with pytest.raises(EtcdError, match="invalid reply"):
        granted(etcdrpc.LeaseGrantResponse(**fields), 10)
    assert granted(etcdrpc.LeaseGrantResponse(ID=HUGE, TTL=11), 10) == HUGE


@pytest.mark.parametrize("fields", [{"ID": 2, "TTL": 10}, {"ID": 1, "TTL": -1}, {"ID": 1, "TTL": HUGE}, {}])
def test_renewal_of_another_lease_or_for_another_time_is_an_error(fields):
    with pytest.raises(EtcdError, match="invalid reply"):
        renewed(etcdrpc.LeaseKeepAliveResponse(**fields), 1)
    assert renewed(etcdrpc.LeaseKeepAliveResponse(ID=1), 1) == 0


@pytest.mark.parametrize(
    "fields",
    [
        *({"ID": 2, "TTL": 9, "grantedTTL": 10}, {"ID": 1, "TTL": HUGE, "grantedTTL": 10}, {}),
        *({"ID": 1, "TTL": 9}, {"ID": 1, "TTL": 9, "grantedTTL": -1}, {"ID": 1, "TTL": 9, "grantedTTL": HUGE}),
    ],
)
def test_time_of_another_lease_or_one_that_cannot_be_is_an_error(fields):
    with pytest.raises(EtcdError, match="invalid reply"):
        remaining(etcdrpc.LeaseTimeToLiveResponse(**fields), 1)


@pytest.mark.parametrize(
    ("left", "granted", "time"), [(9, 10, (9, 10)), (14, 10, (14, 10)), (-3, 10, (0, 10)), (-1, 0, (0, 0))]
)
def test_time_of_a_lease(left, granted, time):
    assert remaining(etcdrpc.LeaseTimeToLiveResponse(ID=1, TTL=left, grantedTTL=granted), 1) == time


@pytest.mark.parametrize(
    ("kinds", "succeeded"),
    [("", True), ("put", True), ("put txn txn", True), ("txn put", True), ("put range", True), ("put txn", False)],
)
def test_responses_to_another_transaction_are_an_error(kinds, succeeded):
    asked = [put_operation(b"a", b""), delete_operation(b"b", 1)]

    def reply(kinds, succeeded):
        made = etcdrpc.TxnResponse(succeeded=succeeded)
        for kind in kinds.split():
            getattr(made.responses.add(), f"response_{kind}").SetInParent()
        return made

    with pytest.raises(EtcdError, match="invalid reply"):
        responses_of(reply(kinds, succeeded), asked)
    assert len(responses_of(reply("put txn", True), asked)) == 2


def refused(*looks, succeeded=False):
    """Return the response of a put that was not done; `looks`: the key, its lease and its revision, by responses."""
    response = etcdrpc.ResponseOp()
    response.response_txn.succeeded = succeeded
    for keys in looks:
        look = response.response_txn.responses.add()
        look.response_range.SetInParent()
        for name, lease, revision in keys:
            look.response_range.kvs.add(key=name, lease=lease, mod_revision=revision)
    return response


def test_refusal_of_a_put_says_what_the_key_is():
    assert refusal_of(refused(succeeded=True), b"a") is None
    assert refusal_of(refused([(b"a", 7, 5)]), b"a") == (7, 5)
    assert refusal_of(refused([]), b"a") == (0, 0)


@pytest.mark.parametrize(
    "looks", [[], [[], []], [[(b"b", 7, 5)]], [[(b"a", 7, 0)]], [[(b"a", 7, -1)]], [[(b"a", 7, 5), (b"a", 7, 5)]]]
)
def test_refusal_that_does_not_say_what_the_key_is_is_an_error(looks):
    with pytest.raises(EtcdError, match="invalid reply"):
        refusal_of(refused(*looks), b"a")


@pytest.mark.parametrize("token", ["", "a\nb", "a\0", "é", "\x1b[31m", "x" * 10_000])
def test_token_that_cannot_be_sent_is_an_error(token):
    with pytest.raises(EtcdError, match="not an authentication token"):
        check_token(token)
    assert check_token("abc.12") == "abc.12"
