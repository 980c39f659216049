import os

import grpc
import pytest

from clusterf.etcd.errors import EtcdError, rpc_error
from clusterf.lib.text import printable
from tests.clusterf.support.hostile_etcd import HOSTILE


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


def test_text_of_etcd_is_one_printable_line_of_a_bounded_length():
    error = rpc_error("a:2379", FakeRpcError(grpc.StatusCode.UNKNOWN, HOSTILE + "x" * 100_000))
    assert str(error) == printable(str(error))
    assert str(error).startswith(
        r"a:2379: unknown: sorry\x0aipvs noop: touch /tmp/owned\x0d\x0a\x1b[2J\x1b]0;owned\x07\u202e"
    )
    assert len(str(error)) < 400
    assert len(str(EtcdError("x\n" * 100_000))) == 1000


def test_error_without_details_has_none():
    assert str(rpc_error("a:2379", FakeRpcError(grpc.StatusCode.OUT_OF_RANGE, None))) == "a:2379: out_of_range: "


def test_log_of_grpc_itself_is_off():
    assert os.environ["GRPC_VERBOSITY"] == "NONE"
