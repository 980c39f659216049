"""Client with a server that replies what etcd never would: an EtcdError, whatever it is."""

import pytest

from clusterf.etcd.client import Client, KeyValue, Put
from clusterf.etcd.errors import EtcdError
from clusterf.etcd.location import EtcdCredentials, EtcdLocation
from clusterf.etcd.stubs import etcdrpc
from clusterf.etcd.values import MAX_VALUE, Oversized
from tests.clusterf.support.etcd_server import serving


def client(endpoint, **credentials):
    location = EtcdLocation(endpoints=(endpoint,), prefix=b"/clusterf/", credentials=EtcdCredentials(**credentials))
    return Client(location, endpoint)


def fails(service, method, request, reply, act, *, streams=False, **credentials):
    """Have a call fail for the reply."""

    def handler(*_):
        return iter([reply]) if streams else reply

    with (
        serving(service, method, getattr(etcdrpc, request), handler, streams=streams) as endpoint,
        pytest.raises(EtcdError, match="invalid reply"),
        client(endpoint, **credentials) as etcd,
    ):
        act(etcd)


def test_more_without_keys_is_an_error():
    reply = etcdrpc.RangeResponse(more=True)
    reply.header.revision = 5
    fails("KV", "Range", "RangeRequest", reply, lambda etcd: etcd.list())
    fails("KV", "Range", "RangeRequest", reply, lambda etcd: etcd.paths(5))


@pytest.mark.parametrize(
    "act",
    [
        lambda etcd: etcd.transact([(b"a", b"")], []),
        lambda etcd: etcd.transact([], [b"a"], 7),
        lambda etcd: etcd.claim([Put(b"a", b"", 7)], [], 7),
        lambda etcd: etcd.claim([], [b"a"], 7),
        lambda etcd: etcd.read([b"a"]),
        lambda etcd: etcd.write_unleased([(b"a", b"")], []),
    ],
)
def test_transaction_with_fewer_responses_is_an_error(act):
    reply = etcdrpc.TxnResponse(succeeded=True)
    reply.header.revision = 5
    fails("KV", "Txn", "TxnRequest", reply, act)


def test_lease_without_an_id_is_an_error():
    # keys on the lease 0 would never expire
    fails("Lease", "LeaseGrant", "LeaseGrantRequest", etcdrpc.LeaseGrantResponse(TTL=10), lambda etcd: etcd.grant(10))


def test_renewal_of_another_lease_is_an_error():
    reply = etcdrpc.LeaseKeepAliveResponse(ID=8, TTL=10)
    fails("Lease", "LeaseKeepAlive", "LeaseKeepAliveRequest", reply, lambda etcd: etcd.keep_alive(7), streams=True)


def test_token_that_cannot_be_sent_is_an_error():
    reply = etcdrpc.AuthenticateResponse(token="a\nb")
    fails("Auth", "Authenticate", "AuthenticateRequest", reply, lambda _: None, user="me")


def test_value_of_many_megabytes_is_reported_with_its_size_and_hides_no_other():
    values = {b"/clusterf/%d" % number: b"x" for number in range(5)} | {b"/clusterf/3": bytes(20 << 20)}

    def reply(request, _):
        names = sorted(name for name in values if name >= request.key)
        answer = etcdrpc.RangeResponse(more=len(names) > request.limit)
        answer.header.revision = 5
        for name in names[: request.limit]:
            answer.kvs.add(key=name, value=b"" if request.keys_only else values[name])
        return answer

    with serving("KV", "Range", etcdrpc.RangeRequest, reply) as endpoint, client(endpoint) as etcd:
        found = etcd.list().items
    assert [item for item in found if item.path != b"3"] == [KeyValue(b"%d" % n, b"x") for n in (0, 1, 2, 4)]
    (large,) = (item.value for item in found if item.path == b"3")
    assert isinstance(large, Oversized)
    assert 20 << 20 <= large.size < 21 << 20
    assert large.limit == MAX_VALUE
