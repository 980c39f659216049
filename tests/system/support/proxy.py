"""A proxy between a node and etcd that can be interrupted."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from tests.system.support.etcd_config import Config

__all__ = ["Proxy", "proxy"]


class Proxy:
    """Forwards between a node and a server; while `silent`, it accepts data and forwards nothing."""

    def __init__(self, port: int) -> None:
        self._to = ("127.0.0.1", port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.silent = threading.Event()
        # bytes from the server to forward before it becomes silent
        self.allowance = 1 << 40
        self._sockets: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def heal(self) -> None:
        """Forward everything again, on new connections."""
        self.hang_up()
        self.allowance = 1 << 40
        self.silent.clear()

    def hang_up(self) -> None:
        """Close all connections; while it is silent, new ones are closed too."""
        for end in self._sockets:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        self._sockets.clear()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.hang_up()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                if self.silent.is_set():
                    near.close()
                    continue
                far = socket.create_connection(self._to)
                self._sockets += [near, far]
                threading.Thread(target=self._forward, args=(near, far), daemon=True).start()
                threading.Thread(target=self._forward, args=(far, near, True), daemon=True).start()

    def _forward(self, source: socket.socket, sink: socket.socket, counted: bool = False) -> None:
        with source, sink, suppress(OSError):
            while data := source.recv(4096):
                self.allowance -= len(data) if counted else 0
                if self.allowance < 0:
                    self.silent.set()
                if not self.silent.is_set():
                    sink.sendall(data)


@contextmanager
def proxy(config: Config) -> Iterator[tuple[Proxy, str]]:
    """Run a proxy in front of the first server; yield it, and the URL of the configuration through it."""
    between = Proxy(config.cluster.members[0].client_port)
    try:
        yield between, f"etcd://{between.endpoint}/{config.prefix}"
    finally:
        between.close()
