"""Servers that pose as an etcd, and say what a terminal, a log or a shell could be fooled by."""

import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc

from clusterf.etcd.stubs import etcdrpc

__all__ = ["COMMAND", "HOSTILE", "going_away", "lying"]

COMMAND = "ipvs noop: touch {}"
HOSTILE = "sorry\nipvs noop: touch /tmp/owned\r\n\x1b[2J\x1b]0;owned\x07\u202egnp\u2028\u009bipvs noop: ipvsadm -C\n"
"""Lines, a sequence that clears a terminal, one that names its window, and characters that turn text around."""

_SETTINGS = bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])


@contextmanager
def lying(text: str = HOSTILE) -> Iterator[str]:
    """Refuse every second read with `text`, else be empty; cancel each watch with `text`. Yields the endpoint."""
    reads = iter(range(1 << 30))

    def read(_: Any, context: grpc.ServicerContext) -> Any:
        if next(reads) % 2 == 0:
            context.abort(grpc.StatusCode.PERMISSION_DENIED, text)
        reply = etcdrpc.RangeResponse()
        reply.header.revision, reply.header.cluster_id = 7, 1
        return reply

    def watch(_: Any, __: grpc.ServicerContext) -> Iterator[Any]:
        yield etcdrpc.WatchResponse(created=True)
        yield etcdrpc.WatchResponse(canceled=True, cancel_reason=text)

    methods = {
        "KV": ("Range", grpc.unary_unary_rpc_method_handler(read, etcdrpc.RangeRequest.FromString, _encode)),
        "Watch": ("Watch", grpc.stream_stream_rpc_method_handler(watch, etcdrpc.WatchRequest.FromString, _encode)),
    }
    server = grpc.server(ThreadPoolExecutor(4))
    for service, (name, handler) in methods.items():
        one = grpc.method_handlers_generic_handler(f"etcdserverpb.{service}", {name: handler})
        server.add_generic_rpc_handlers([one])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait()


def _encode(reply: Any) -> bytes:
    return bytes(reply.SerializeToString())


@contextmanager
def going_away(text: str = HOSTILE) -> Iterator[str]:
    """Answer each connection with a GOAWAY of HTTP/2 that carries `text`, which gRPC's own log repeats."""
    debug = text.encode()
    goaway = (8 + len(debug)).to_bytes(3, "big") + bytes([7, 0, 0, 0, 0, 0]) + bytes([0, 0, 0, 0, 0, 0, 0, 11]) + debug

    def serve(listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                connection.recv(1 << 16)
                connection.sendall(_SETTINGS + goaway)
                while connection.recv(1 << 16):
                    pass

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        try:
            yield f"127.0.0.1:{listener.getsockname()[1]}"
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()
