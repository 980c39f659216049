import pytest

from clusterf.etcd import stubs
from clusterf.etcd.stubs import etcdrpc


def test_messages_are_read_and_written():
    request = etcdrpc.TxnRequest(success=[etcdrpc.RequestOp(request_put=etcdrpc.PutRequest(key=b"a", value=b"1"))])
    assert etcdrpc.TxnRequest.FromString(request.SerializeToString()) == request


def test_stubs_of_all_used_services_exist():
    for name in ("KVStub", "WatchStub", "LeaseStub", "AuthStub"):
        assert callable(getattr(etcdrpc, name))


@pytest.mark.parametrize("source", ["", "x = 1", "f(serialized_pb=1)"])
def test_module_without_a_descriptor_is_an_import_error(source):
    with pytest.raises(ImportError, match="kv_pb2: "):
        stubs._serialized("kv_pb2", source)


@pytest.mark.parametrize("source", ["f(serialized_pb=b'a\\xff')", "f(serialized_pb=_b('a\\xff'))"])
def test_descriptor_is_bytes_or_latin_1(source):
    assert stubs._serialized("kv_pb2", source) == b"a\xff"
