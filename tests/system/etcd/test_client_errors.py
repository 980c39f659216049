"""clusterf.etcd.client: connections that fail, and what clients leave behind."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from clusterf.etcd.client import Client
from clusterf.etcd.location import EtcdCredentials, EtcdLocation, parse_location
from tests.lab.etcd import EtcdCluster
from tests.system.support.etcd_client import SOON, channel_options, connect, expire_a_lease, fails_within
from tests.waiting import wait_until

PREFIXES = (f"clusterf/errors/{number}" for number in count())


def test_idle_client_is_not_disconnected(etcd: EtcdCluster) -> None:
    seconds = 4  # etcd disconnects a client at the third ping too many
    with channel_options(keepalive_time_ms=1000):
        client = connect(etcd, prefix=next(PREFIXES))
    with client, connect(etcd, prefix=next(PREFIXES)) as other:
        states: list[Any] = []
        client.list()
        client._channel.subscribe(states.append)
        expire_a_lease(other, seconds)
        assert [state.name for state in states] == ["READY"]


def test_web_proxy_of_the_environment_is_not_used(etcd: EtcdCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "grpc_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    with connect(etcd, prefix=next(PREFIXES)) as client:
        assert client.list().items == []


def elsewhere(endpoint: str, deadline: float = 2) -> Client:
    return Client(parse_location(f"etcd://{endpoint}", EtcdCredentials()), endpoint, deadline)


def test_refused_connection_fails_at_once() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        port = listener.getsockname()[1]
    with fails_within(1, "unavailable"), elsewhere(f"127.0.0.1:{port}") as client:
        client.list()


def test_unresolvable_name_fails() -> None:
    with fails_within(3), elsewhere("nowhere.invalid:2379") as client:
        client.list()


def hold(connection: socket.socket) -> None:
    while connection.recv(1000):
        pass


def hang_up(connection: socket.socket) -> None:
    pass


def babble(connection: socket.socket) -> None:
    connection.sendall(b"SSH-2.0-OpenSSH_9.2p1\r\n" + bytes(range(256)) * 100)
    hold(connection)


def speak_http_1(connection: socket.socket) -> None:
    connection.recv(1000)
    connection.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
    hold(connection)


def begin_http_2(connection: socket.socket) -> None:
    connection.sendall(bytes(3) + b"\x04" + bytes(5))
    hold(connection)


@contextmanager
def impostor(behaviour: Callable[[socket.socket], None]) -> Iterator[str]:
    """Serve all connections with `behaviour`; yield the endpoint."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                threading.Thread(target=entertain, args=(connection,), daemon=True).start()

        def entertain(connection: socket.socket) -> None:
            with connection:
                try:
                    behaviour(connection)
                except OSError:
                    return

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"127.0.0.1:{listener.getsockname()[1]}"
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


@pytest.mark.parametrize("behaviour", [hold, hang_up, babble, speak_http_1, begin_http_2])
def test_call_to_another_kind_of_server_times_out(behaviour: Callable[[socket.socket], None]) -> None:
    with impostor(behaviour) as endpoint, elsewhere(endpoint, deadline=1) as client:
        with fails_within(2):
            client.list()
        with fails_within(2):
            client.keep_alive(1)


@pytest.mark.parametrize("behaviour", [hang_up, babble, speak_http_1])
def test_watch_of_another_kind_of_server_ends(behaviour: Callable[[socket.socket], None]) -> None:
    with impostor(behaviour) as endpoint, elsewhere(endpoint) as client, fails_within(SOON):
        next(iter(client.watch(0)))


def in_use() -> tuple[int, int]:
    return len(list(Path("/proc/self/fd").iterdir())), len(list(Path("/proc/self/task").iterdir()))


def use(location: EtcdLocation, endpoint: str) -> None:
    """Do all that a client can, or fail."""
    with Client(location, endpoint, 1) as client:
        watch = client.watch(0)
        client.list()
        client.keep_alive(client.grant(10))
        next(iter(watch))


def test_closed_clients_leave_no_descriptors_and_threads(etcd: EtcdCluster) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        nobody = f"127.0.0.1:{listener.getsockname()[1]}"

    def connect_often(times: int) -> None:
        for _ in range(times):
            use(etcd.location(), etcd.endpoints[0])
            with fails_within(SOON):
                use(parse_location(f"etcd://{nobody}", EtcdCredentials()), nobody)

    def at_most(descriptors: int, tasks: int) -> bool:
        used = in_use()
        return used[0] <= descriptors and used[1] <= tasks

    connect_often(5)
    descriptors, tasks = in_use()
    connect_often(50)
    # grpc has threads of its own, which stay for a while
    wait_until(lambda: at_most(descriptors + 2, tasks + 4), timeout=30)
