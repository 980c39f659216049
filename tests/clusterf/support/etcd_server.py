"""A gRPC server that replies as etcd does, as far as a test tells it to."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc

__all__ = ["Handler", "serving"]

Handler = Callable[[Any, grpc.ServicerContext], Any]


@contextmanager
def serving(service: str, method: str, request: Any, handler: Handler, *, streams: bool = False) -> Iterator[str]:
    """Have `handler` reply to one method of an etcd service, whose requests are `request`s; yield the endpoint."""
    kind = grpc.stream_stream_rpc_method_handler if streams else grpc.unary_unary_rpc_method_handler
    rpc = kind(handler, request.FromString, lambda reply: reply.SerializeToString())
    server = grpc.server(ThreadPoolExecutor(2))
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(f"etcdserverpb.{service}", {method: rpc})])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait()
