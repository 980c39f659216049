"""Real servers on loopback, good and bad ones.

`Server` accepts in a thread, and runs a behaviour for each connection in a
thread of its own; `with Server(answer(503)) as server` serves until the end of
the block, which also ends behaviours. `tls=` is the context for TLS; `Authority`
makes contexts with good and bad certificates.
"""

import contextlib
import datetime as dt
import ipaddress
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from clusterf.lib.addresses import Endpoint

__all__ = [
    "Authority",
    "Behaviour",
    "Connection",
    "Server",
    "answer",
    "answer_slowly",
    "answer_without_end",
    "closed_port",
    "full_backlog",
    "hang_up",
    "headers_without_end",
    "only_for_host",
    "redirect",
    "reset",
    "say",
    "stay_silent",
]

LONG = 3600.0  # seconds: until the test is over


class Connection:
    """One client's connection, as a behaviour sees it."""

    def __init__(self, connection: socket.socket, ended: threading.Event) -> None:
        self.socket = connection
        self._ended = ended

    def request(self) -> bytes:
        """Read a request with its body; return less if the client closes the connection before."""
        received = b""
        while not self._complete(received) and (more := self.socket.recv(65536)):
            received += more
        return received

    @staticmethod
    def _complete(received: bytes) -> bool:
        head, end, body = received.partition(b"\r\n\r\n")
        lengths = [line[15:] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        return bool(end) and len(body) >= int(lengths[0] if lengths else 0)

    def say(self, data: bytes) -> None:
        """Send all of `data`."""
        self.socket.sendall(data)

    def wait(self, seconds: float = LONG) -> bool:
        """Wait until the time or the test is over; return whether the test goes on."""
        return not self._ended.wait(seconds)


Behaviour = Callable[[Connection], None]


class Server:
    """A server that listens on a loopback port of either family as soon as it is constructed.

    `requests` are those that behaviours have read by `Connection.request`,
    `clients` the addresses of all connections.
    """

    def __init__(
        self,
        behaviour: Behaviour,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.behaviour = behaviour
        self.clients: list[str] = []
        self.requests: list[bytes] = []
        self._tls = tls
        self._ended = threading.Event()
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listener = socket.create_server((host, port), family=family, backlog=1024)
        self.host, self.port = self._listener.getsockname()[:2]
        self._thread = threading.Thread(target=self._accept, daemon=True)

    @property
    def accepted(self) -> int:
        """The number of connections so far."""
        return len(self.clients)

    @property
    def endpoint(self) -> Endpoint:
        """The address and port."""
        return Endpoint(ipaddress.ip_address(self.host).packed, self.port)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()
        with self._lock:
            for connection in self._open:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while not self._ended.is_set():
            with contextlib.suppress(OSError):
                connection, client = self._listener.accept()
                self.clients.append(client[0])
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        # errors of the connection are expected: the client may reset it, and so may the end of the test
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
            stack.callback(connection.close)
            if self._tls is not None:
                connection.settimeout(10)
                connection = self._tls.wrap_socket(connection, server_side=True)
                connection.settimeout(None)
                stack.callback(connection.close)
            with self._lock:
                self._open.add(connection)
            stack.callback(self._forget, connection)
            self.behaviour(_Recorded(connection, self._ended, self.requests))

    def _forget(self, connection: socket.socket) -> None:
        with self._lock:
            self._open.discard(connection)


class _Recorded(Connection):
    def __init__(self, connection: socket.socket, ended: threading.Event, requests: list[bytes]) -> None:
        super().__init__(connection, ended)
        self._requests = requests

    def request(self) -> bytes:
        request = super().request()
        self._requests.append(request)
        return request


def response(status: int, body: bytes, headers: tuple[str, ...] = (), version: str = "1.1") -> bytes:
    """Return the bytes of a response."""
    lines = [f"HTTP/{version} {status} Because", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


def answer(status: int = 200, body: bytes = b"hello\n", *headers: str, version: str = "1.1") -> Behaviour:
    """Answer one request, and close."""
    return say(response(status, body, headers, version))


def say(data: bytes) -> Behaviour:
    """Answer one request with these bytes, and close."""

    def behave(connection: Connection) -> None:
        connection.request()
        connection.say(data)

    return behave


def answer_slowly(*parts: bytes, pause: float = LONG) -> Behaviour:
    """Answer in parts, with a pause after each."""

    def behave(connection: Connection) -> None:
        connection.request()
        for part in parts:
            connection.say(part)
            if not connection.wait(pause):
                return

    return behave


def answer_without_end(head: bytes, more: bytes) -> Behaviour:
    """Answer with `head`, and then repeat `more` until the client closes."""

    def behave(connection: Connection) -> None:
        connection.request()
        connection.say(head)
        while connection.wait(0):
            connection.say(more)

    return behave


headers_without_end = answer_without_end(b"HTTP/1.1 200 OK\r\n", b"X-Filler: " + b"x" * 1000 + b"\r\n")


def only_for_host(host: str) -> Behaviour:
    """Answer 200 to requests for that host, 421 to others."""

    def behave(connection: Connection) -> None:
        found = f"\r\nhost: {host}\r\n".encode().lower() in connection.request().lower()
        connection.say(response(200 if found else 421, b""))

    return behave


def redirect(*locations: str, status: int = 302) -> Behaviour:
    """Redirect the first requests to these locations, and answer 200 to all others."""
    left = list(locations)

    def behave(connection: Connection) -> None:
        connection.request()
        if left:
            connection.say(response(status, b"", (f"Location: {left.pop(0)}",)))
        else:
            connection.say(response(200, b"hello\n"))

    return behave


def hang_up(connection: Connection) -> None:
    """Read the request, and close without a response."""
    connection.request()


def reset(connection: Connection) -> None:
    """Read the request, and reset the connection."""
    connection.request()
    connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def stay_silent(connection: Connection) -> None:
    """Accept, and send nothing."""
    connection.wait()


@contextlib.contextmanager
def closed_port(host: str = "127.0.0.1") -> Iterator[Endpoint]:
    """Reserve a port on which nothing listens."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as held:
        held.bind((host, 0))
        yield Endpoint(ipaddress.ip_address(host).packed, held.getsockname()[1])


@contextlib.contextmanager
def full_backlog() -> Iterator[Endpoint]:
    """Listen on a port without accepting, with a full backlog, so that connecting times out."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener, contextlib.ExitStack() as stack:
        address = listener.getsockname()
        for _ in range(4):
            client = stack.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(address)
        yield Endpoint(ipaddress.ip_address(address[0]).packed, address[1])


class Authority:
    """A certificate authority, and TLS contexts of servers with good and bad certificates."""

    def __init__(self, folder: Path) -> None:
        self._ca = trustme.CA()
        # the file of authorities for clients
        self.pem = folder / "ca.pem"
        self._ca.cert_pem.write_to_path(self.pem)

    def good(self, *names: str) -> ssl.SSLContext:
        """Return the context of a server with a certificate for these names and addresses."""
        return self._context(self._ca.issue_cert(*names))

    def expired(self, *names: str) -> ssl.SSLContext:
        """Return the context of a server whose certificate expired yesterday."""
        now = dt.datetime.now(dt.UTC)
        day = dt.timedelta(days=1)
        return self._context(self._ca.issue_cert(*names, not_before=now - 2 * day, not_after=now - day))

    @staticmethod
    def _context(certificate: trustme.LeafCert) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate.configure_cert(context)
        return context

    @staticmethod
    def self_signed(folder: Path, address: str) -> ssl.SSLContext:
        """Return the context of a server with a self-signed certificate."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "self")])
        now = dt.datetime.now(dt.UTC)
        names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))])
        certificate = (
            x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(days=1))
            .not_valid_after(now + dt.timedelta(days=1))
            .add_extension(names, critical=False)
            .sign(key, hashes.SHA256())
        )
        pem = folder / "self-signed.pem"
        pem.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            + certificate.public_bytes(serialization.Encoding.PEM)
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pem)
        return context
