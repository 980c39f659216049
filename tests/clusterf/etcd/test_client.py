"""Client with a server that replies as a test wants; with a real etcd: see tests/system/etcd."""

import threading

import grpc
import pytest

from clusterf.etcd.client import Client
from clusterf.etcd.errors import EtcdError
from clusterf.etcd.location import EtcdCredentials, EtcdLocation
from clusterf.etcd.stubs import etcdrpc
from tests.clusterf.support.etcd_server import serving


def client(endpoint, deadline=5.0, **credentials):
    location = EtcdLocation(endpoints=(endpoint,), prefix=b"/clusterf/", credentials=EtcdCredentials(**credentials))
    return Client(location, endpoint, deadline)


def test_list_reads_all_pages_at_the_revision_of_the_first():
    pages = [b"a", b"b", b"c"]
    requests = []

    def reply(request, _):
        requests.append(request)
        page = len(requests)
        answer = etcdrpc.RangeResponse(more=page < len(pages))
        answer.header.revision, answer.header.cluster_id = 10 * page, 7
        answer.kvs.add(key=b"/clusterf/" + pages[page - 1], value=b"%d" % page, lease=9 * (page == 2))
        return answer

    with serving("KV", "Range", etcdrpc.RangeRequest, reply) as endpoint, client(endpoint) as etcd:
        assert etcd.list() == ([(b"a", b"1"), (b"b", b"2"), (b"c", b"3")], 10, 7, {b"b": 9})
    assert [(request.key, request.revision) for request in requests] == [
        (b"/clusterf/", 0),
        (b"/clusterf/a\0", 10),
        (b"/clusterf/b\0", 10),
    ]
    assert {request.range_end for request in requests} == {b"/clusterf0"}


def test_error_of_a_call_names_the_endpoint():
    def reply(_, context):
        context.abort(grpc.StatusCode.UNAVAILABLE, "etcdserver: no leader")

    with (
        serving("KV", "Range", etcdrpc.RangeRequest, reply) as endpoint,
        client(endpoint) as etcd,
        pytest.raises(EtcdError, match=rf"^{endpoint}: unavailable: etcdserver: no leader$"),
    ):
        etcd.list()


def test_call_that_hangs_times_out():
    def reply(_, context):
        over = threading.Event()
        context.add_callback(over.set)
        over.wait(10)
        return etcdrpc.RangeResponse()

    with (
        serving("KV", "Range", etcdrpc.RangeRequest, reply) as endpoint,
        client(endpoint, deadline=0.2) as etcd,
        pytest.raises(EtcdError, match="deadline_exceeded"),
    ):
        etcd.list()


def test_unreadable_password_file_is_an_error():
    with pytest.raises(EtcdError, match="/nonexistent"):
        client("127.0.0.1:1", user="me", password_file="/nonexistent")


def test_password_file_is_sent_without_its_newline(tmp_path):
    file = tmp_path / "password"
    file.write_text(" secret \n")
    requests = []

    def reply(request, _):
        requests.append(request)
        return etcdrpc.AuthenticateResponse(token="t")

    with serving("Auth", "Authenticate", etcdrpc.AuthenticateRequest, reply) as endpoint:
        client(endpoint, user="me", password_file=str(file)).close()
    assert [(request.name, request.password) for request in requests] == [("me", " secret ")]
