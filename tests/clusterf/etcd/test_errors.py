import grpc
import pytest

from clusterf.etcd.errors import rpc_error


class FakeRpcError(grpc.RpcError):
    def __init__(self, code, details):
        self._code, self._details = code, details

    def code(self):
        return self._code

    def details(self):
        return self._details


@pytest.mark.parametrize(
    ("code", "details", "compacted", "lease_gone"),
    [
        (grpc.StatusCode.UNAVAILABLE, "connection refused", False, False),
        (grpc.StatusCode.OUT_OF_RANGE, "etcdserver: mvcc: required revision has been compacted", True, False),
        (grpc.StatusCode.OUT_OF_RANGE, "etcdserver: mvcc: required revision is a future revision", False, False),
        (grpc.StatusCode.NOT_FOUND, "etcdserver: requested lease not found", False, True),
    ],
)
def test_rpc_error_names_endpoint_code_and_details(code, details, compacted, lease_gone):
    error = rpc_error("a:2379", FakeRpcError(code, details))
    assert str(error) == f"a:2379: {code.name.lower()}: {details}"
    assert (error.compacted, error.lease_gone) == (compacted, lease_gone)
