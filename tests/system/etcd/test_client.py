"""clusterf.etcd.client against a real etcd, and against what only claims to be one."""

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from itertools import count, islice
from pathlib import Path
from queue import Queue
from typing import Any

import pytest

from clusterf.etcd.client import Client, KeyValue
from clusterf.etcd.errors import EtcdError
from clusterf.etcd.location import EtcdCredentials, EtcdLocation, parse_location
from clusterf.etcd.transactions import OPERATIONS
from clusterf.etcd.watch import Event, Watch
from tests.lab.etcd import EtcdCluster, Tls
from tests.waiting import wait_until

PREFIXES = (f"clusterf/{number}" for number in count())
SOON = 3.0  # seconds, for what should not take one


class Reader:
    """Reads a watch in a thread, until it ends with an error."""

    def __init__(self, watch: Watch) -> None:
        self._said: Queue[list[Event] | EtcdError] = Queue()
        self._watch = watch
        threading.Thread(target=self._run, daemon=True).start()
        assert self.next() == []  # etcd has begun to watch

    def _run(self) -> None:
        try:
            for events in self._watch:
                self._said.put(events)
        except EtcdError as error:
            self._said.put(error)

    def next(self, timeout: float = SOON) -> list[Event]:
        """Return what the watch says next, or raise what it ends with."""
        said = self._said.get(timeout=timeout)
        if isinstance(said, EtcdError):
            raise said
        return said

    def events(self, number: int) -> list[Event]:
        """Return so many events."""
        events: list[Event] = []
        while len(events) < number:
            events += self.next()
        return events


@pytest.fixture(scope="module")
def etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdCluster]:
    """An etcd that the tests leave as they found it, but for keys."""
    with EtcdCluster(tmp_path_factory.mktemp("etcd")) as cluster:
        yield cluster


@pytest.fixture
def client(etcd: EtcdCluster) -> Iterator[Client]:
    """A client of it, with a prefix of its own."""
    with connect(etcd, prefix=next(PREFIXES)) as client:
        yield client


@pytest.fixture
def doomed(tmp_path: Path) -> Iterator[EtcdCluster]:
    """An etcd for one test to maltreat."""
    with EtcdCluster(tmp_path / "etcd") as cluster:
        yield cluster


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdCluster]:
    """An etcd that asks for a password, and forgets soon that it was given."""
    with EtcdCluster(tmp_path_factory.mktemp("guarded"), auth=True, token_ttl=1) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def encrypted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdCluster]:
    """An etcd that speaks TLS, with those who have a certificate."""
    with EtcdCluster(tmp_path_factory.mktemp("tls"), tls=True, client_certificates=True) as cluster:
        yield cluster


def connect(cluster: EtcdCluster, prefix: str = "clusterf", deadline: float = 5.0, **changes: Any) -> Client:
    return Client(cluster.location(prefix, **changes), cluster.endpoints[0], deadline)


def put(client: Client, values: dict[bytes, bytes]) -> int:
    """Set keys, as many at once as etcd takes; return the last revision."""
    items, revision = iter(values.items()), 0
    while chunk := list(islice(items, OPERATIONS)):
        revision = client.transact(chunk, [])
    return revision


def let_a_lease_run_out(client: Client, ttl: int) -> None:
    """Wait until etcd has ended a lease that it grants now."""
    lease = client.grant(ttl)
    revision = client.transact([(b"hourglass", b"")], [], lease)
    watch = client.watch(revision + 1)
    while not any(event.value is None for event in Reader(watch).next(ttl + SOON)):
        pass
    watch.cancel()


@contextmanager
def fails_within(seconds: float, text: str = ".") -> Iterator[None]:
    began = time.monotonic()
    with pytest.raises(EtcdError, match=text):
        yield
    assert time.monotonic() - began < seconds


def test_a_list_has_all_keys_however_many(client: Client) -> None:
    values = {
        b"services/web/backends/%05d" % number: b'{"weight": %d}' % number + b" " * 200 for number in range(20000)
    }
    revision = put(client, values)
    listing = client.list()
    assert dict(listing.items) == values
    assert len(listing.items) == len(values)
    assert listing.revision == revision


def test_a_list_may_have_values_of_a_megabyte(client: Client) -> None:
    values = {b"%d" % number: os.urandom(1 << 20) for number in range(6)}
    for item in values.items():
        client.transact([item], [])
    assert dict(client.list().items) == values


def test_a_value_beyond_what_etcd_takes_is_refused(client: Client) -> None:
    with fails_within(SOON, "too large"):
        client.transact([(b"a", bytes(1_700_000))], [])


@pytest.mark.parametrize("number", [0, 1, 999, 1000, 1001, 2000])
def test_a_list_ends_where_a_page_does(client: Client, number: int) -> None:
    values = {b"%04d" % key: b"" for key in range(number)}
    put(client, values)
    assert dict(client.list().items) == values


def test_a_list_is_of_one_moment_while_keys_change(client: Client, etcd: EtcdCluster) -> None:
    put(client, {b"%04d" % number: b"" for number in range(2500)})
    client.transact([(b"", b"0"), (b"z", b"0")], [])
    stop = threading.Event()

    def change() -> None:
        for number in count():
            if stop.is_set():
                return
            client.transact([(b"", b"%d" % number), (b"z", b"%d" % number)], [b"%04d" % (number % 2500)])

    writer = threading.Thread(target=change)
    writer.start()
    try:
        revisions = set()
        for _ in range(20):
            listing = client.list()
            revisions.add(listing.revision)
            assert listing.items[0].value == listing.items[-1].value
    finally:
        stop.set()
        writer.join()
    assert len(revisions) > 1


def test_keys_beside_the_prefix_are_not_below_it(doomed: EtcdCluster) -> None:
    with connect(doomed) as client:
        for key in (
            "/clusterf",
            "/clusterf-other/x",
            "/clusterf0",
            "/clustere/x",
            "clusterf/x",
            "/clusterf.",
            "/other/clusterf/",
        ):
            doomed.ctl("put", key, "no")
        watch = Reader(client.watch(1))
        doomed.ctl("put", "/clusterf/", "the shortest")
        doomed.ctl("put", "/clusterf//", "a slash")
        with connect(doomed) as other:
            other.transact([(b"\xff\xff", b"the last")], [])
        below = [KeyValue(b"", b"the shortest"), KeyValue(b"/", b"a slash"), KeyValue(b"\xff\xff", b"the last")]
        assert client.list().items == below
        assert [event[:2] for event in watch.events(3)] == below


def test_deletes_and_puts_of_a_transaction_happen_at_once(client: Client) -> None:
    client.transact([(b"a", b"1"), (b"b", b"1")], [])
    watch = Reader(client.watch(client.list().revision + 1))
    revision = client.transact([(b"b", b"2"), (b"c", b"2")], [b"a", b"never there"])
    assert client.list() == ([(b"b", b"2"), (b"c", b"2")], revision)
    assert sorted(watch.events(3)) == [(b"a", None, revision), (b"b", b"2", revision), (b"c", b"2", revision)]


def test_a_transaction_may_have_as_many_operations_as_said(client: Client) -> None:
    paths = [b"%d" % number for number in range(OPERATIONS)]
    lease = client.grant(60)
    client.transact([(path, b"") for path in paths], [], lease)
    client.transact([], paths, lease)
    assert client.list().items == []
    with fails_within(SOON, "too many operations"):
        client.transact([], [*paths, b"one", b"more"], lease)


def test_a_watch_begins_with_its_revision_and_keeps_the_order(client: Client) -> None:
    revisions = [client.transact([(b"key", b"%d" % number)], []) for number in range(300)]
    watch = Reader(client.watch(revisions[100]))
    revisions += [client.transact([], [b"key"]), client.transact([(b"key", b"back")], [])]
    values = [*(b"%d" % number for number in range(100, 300)), None, b"back"]
    assert watch.events(202) == [(b"key", value, at) for value, at in zip(values, revisions[100:], strict=True)]


def test_a_watch_sees_a_lease_take_its_keys_along(client: Client) -> None:
    lease = client.grant(60)
    revision = client.transact([(b"a", b"1"), (b"b", b"1")], [], lease)
    watch = Reader(client.watch(revision + 1))
    client.revoke(lease)
    assert sorted(event[:2] for event in watch.events(2)) == [(b"a", None), (b"b", None)]


def test_a_watch_takes_events_of_many_megabytes(client: Client) -> None:
    values = [os.urandom(1 << 20) for _ in range(6)]
    first = min(client.transact([(b"key", value)], []) for value in values)
    assert [event.value for event in Reader(client.watch(first)).events(6)] == values


def test_a_watch_answers_when_asked_for_a_sign_of_life(client: Client) -> None:
    watch = client.watch(client.list().revision + 1)
    reader = Reader(watch)
    for _ in range(3):
        watch.request_progress()
        assert reader.next() == []


@pytest.mark.parametrize("iterated", [True, False])
def test_a_cancelled_watch_ends(client: Client, *, iterated: bool) -> None:
    watch = client.watch(0)
    reader = Reader(watch) if iterated else None
    watch.cancel()
    with fails_within(SOON, "cancelled"):
        if reader:
            reader.next()
        else:
            next(iter(watch))


def test_a_watch_ends_when_the_client_is_closed(etcd: EtcdCluster) -> None:
    with connect(etcd) as client:
        reader = Reader(client.watch(0))
    with fails_within(SOON):
        reader.next()


def test_what_was_compacted_cannot_be_watched_or_listed(doomed: EtcdCluster) -> None:
    with connect(doomed) as client:
        put(client, {b"%04d" % number: b"" for number in range(1500)})

        class Compacting:
            """Makes the first page of a list the last."""

            def __init__(self, stub: Any) -> None:
                self._stub = stub

            def Range(self, *arguments: Any, **options: Any) -> Any:  # noqa: N802
                reply = self._stub.Range(*arguments, **options)
                later = client.transact([(b"later", b"")], [])
                doomed.compact(later)
                return reply

        client._kv, kv = Compacting(client._kv), client._kv
        client._kv.Txn = kv.Txn
        with pytest.raises(EtcdError, match="compacted") as trouble:
            client.list()
        assert trouble.value.compacted
        client._kv = kv
        with pytest.raises(EtcdError, match="compacted") as trouble:
            next(message for message in client.watch(2) if message)
        assert trouble.value.compacted
        assert len(client.list().items) == 1501


def test_a_list_after_a_restore_says_that_the_revision_is_lower(doomed: EtcdCluster) -> None:
    with connect(doomed) as client:
        before = put(client, {b"%d" % number: b"" for number in range(300)})
    doomed.kill()
    doomed.start(wipe=True)
    with connect(doomed) as client:
        listing = client.list()
    assert listing.items == []
    assert listing.revision < before


def test_a_watch_ends_at_once_when_the_server_is_killed(doomed: EtcdCluster) -> None:
    with connect(doomed) as client:
        watch = Reader(client.watch(0))
        doomed.kill()
        with fails_within(SOON, "unavailable"):
            watch.next()
        with fails_within(SOON, "unavailable"):
            client.list()


def test_a_frozen_server_is_noticed_by_calls_and_by_watches(doomed: EtcdCluster) -> None:
    with connect(doomed, deadline=1) as client:
        watch = Reader(client.watch(0))
        doomed.members[0].freeze()
        with fails_within(2, "deadline"):
            client.list()
        with fails_within(2, "deadline"), connect(doomed, deadline=1) as late:
            late.list()
        with fails_within(15):
            watch.next(15)


def test_a_member_without_its_leader_says_so(tmp_path: Path) -> None:
    with EtcdCluster(tmp_path / "etcd", members=3) as cluster, connect(cluster, deadline=2) as client:
        watch = Reader(client.watch(0))
        for member in cluster.members[1:]:
            member.kill()
        with fails_within(10, "no leader"):
            watch.next(10)
        with fails_within(3):
            client.list()
        with fails_within(3):
            client.grant(10)
        cluster.start()
        assert client.list().items == []


def test_a_client_that_asks_nothing_for_long_is_not_hung_up_on(etcd: EtcdCluster) -> None:
    pings = 4  # etcd hangs up at the third that it takes amiss
    options = [("grpc.keepalive_time_ms", 1000)]
    with pytest.MonkeyPatch.context() as patch:
        from clusterf.etcd import channel as module

        patch.setattr(
            module, "_OPTIONS", options + [option for option in module._OPTIONS if option[0] != options[0][0]]
        )
        client = connect(etcd, prefix=next(PREFIXES))
    with client, connect(etcd, prefix=next(PREFIXES)) as other:
        states: list[Any] = []
        client.list()
        client._channel.subscribe(states.append)
        let_a_lease_run_out(other, pings)
        assert [state.name for state in states] == ["READY"]


def test_a_proxy_for_the_web_is_none_for_etcd(etcd: EtcdCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "grpc_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    with connect(etcd, prefix=next(PREFIXES)) as client:
        assert client.list().items == []


def elsewhere(endpoint: str, deadline: float = 2) -> Client:
    return Client(parse_location(f"etcd://{endpoint}", EtcdCredentials()), endpoint, deadline)


def test_where_nobody_listens_a_call_fails_at_once() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        port = listener.getsockname()[1]
    with fails_within(1, "unavailable"), elsewhere(f"127.0.0.1:{port}") as client:
        client.list()


def test_a_name_that_has_no_address_fails_a_call() -> None:
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
    """Serve everybody who connects badly; yield the endpoint."""
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
def test_what_is_no_etcd_fails_a_call_in_time(behaviour: Callable[[socket.socket], None]) -> None:
    with impostor(behaviour) as endpoint, elsewhere(endpoint, deadline=1) as client:
        with fails_within(2):
            client.list()
        with fails_within(2):
            client.keep_alive(1)


@pytest.mark.parametrize("behaviour", [hang_up, babble, speak_http_1])
def test_what_is_no_etcd_ends_a_watch(behaviour: Callable[[socket.socket], None]) -> None:
    with impostor(behaviour) as endpoint, elsewhere(endpoint) as client, fails_within(SOON):
        next(iter(client.watch(0)))


def test_tls_with_the_right_authority_and_certificate_comes_in(encrypted: EtcdCluster) -> None:
    with connect(encrypted) as client:
        client.transact([(b"a", b"1")], [])
        assert client.list().items == [(b"a", b"1")]


def test_the_wrong_authority_is_not_believed(encrypted: EtcdCluster) -> None:
    assert encrypted.tls
    for ca in (encrypted.tls.wrong_ca, None):
        with fails_within(SOON, "(?i)certificate|ssl|handshake"), connect(encrypted, ca=ca) as client:
            client.list()


def test_without_a_certificate_that_etcd_trusts_nobody_comes_in(encrypted: EtcdCluster) -> None:
    assert encrypted.tls
    for cert, key in ((None, None), encrypted.tls.stranger):
        with fails_within(SOON), connect(encrypted, cert=cert, key=key) as client:
            client.list()


def test_a_server_of_another_name_is_not_believed(tmp_path: Path) -> None:
    tls = Tls(tmp_path / "tls", names=["127.0.0.1"])
    imposing = Tls(tmp_path / "other", names=["other.example"])
    with EtcdCluster(tmp_path / "etcd", tls=tls) as cluster:
        member = cluster.members[0]
        member.stop()
        for path, other in zip(tls.server, imposing.server, strict=True):
            Path(path).write_bytes(Path(other).read_bytes())
        member.launch()
        wait_until(lambda: "serving client" in member.log)
        with fails_within(SOON), connect(cluster, ca=imposing.ca, cert=None, key=None) as client:
            client.list()


@pytest.mark.parametrize("field", ["ca", "cert", "key"])
def test_a_file_that_cannot_be_read_is_named(encrypted: EtcdCluster, tmp_path: Path, field: str) -> None:
    missing: dict[str, Any] = {field: str(tmp_path / "missing.pem")}
    with fails_within(1, "missing.pem: No such file"):
        connect(encrypted, **missing)


def unusable(tls: Tls, tmp_path: Path) -> Iterator[dict[str, Any]]:
    garbage = tmp_path / "garbage.pem"
    garbage.write_text("garbage\n")
    empty = tmp_path / "empty.pem"
    empty.write_text("")
    for path in (garbage, empty):
        for field in ("ca", "cert", "key"):
            yield {field: str(path)}
    yield {"key": tls.server[1]}
    yield {"key": None}
    yield {"cert": None}


def test_files_that_are_no_use_are_refused(encrypted: EtcdCluster, tmp_path: Path) -> None:
    assert encrypted.tls
    for changes in unusable(encrypted.tls, tmp_path):
        with fails_within(SOON), connect(encrypted, deadline=2, **changes) as client:
            client.list()


def test_tls_and_plain_do_not_meet(etcd: EtcdCluster, encrypted: EtcdCluster) -> None:
    with fails_within(SOON), connect(encrypted, deadline=2, tls=False) as client:
        client.list()
    with fails_within(SOON), connect(etcd, deadline=2, tls=True, ca=encrypted.location().credentials.ca) as client:
        client.list()


def test_the_right_password_comes_in_below_its_prefix_only(guarded: EtcdCluster) -> None:
    with connect(guarded) as client:
        client.transact([(b"a", b"1")], [])
        assert (b"a", b"1") in client.list().items
        reader = Reader(client.watch(client.list().revision + 1))
        client.transact([(b"b", b"1")], [])
        assert reader.events(1)[0].path == b"b"
    with connect(guarded, prefix="other") as client:
        with fails_within(SOON, "permission denied"):
            client.list()
        with fails_within(SOON, "permission denied"):
            next(message for message in client.watch(0) if message)


def test_the_wrong_password_does_not_come_in(guarded: EtcdCluster, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong"
    wrong.write_text("wrong")
    for changes in ({"password_file": str(wrong)}, {"user": "nobody"}, {"password_file": None}):
        with fails_within(SOON, "authentication failed"):
            connect(guarded, **changes)
    with fails_within(SOON, "No such file"):
        connect(guarded, password_file=str(tmp_path / "missing"))
    with fails_within(SOON, "user name is empty"), connect(guarded, user=None) as client:
        client.list()


def test_the_password_may_come_from_the_environment(guarded: EtcdCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLUSTERF_ETCD_PASSWORD", "secret")
    with connect(guarded, password_file=None) as client:
        client.list()


def test_a_token_that_has_expired_is_named(guarded: EtcdCluster) -> None:
    with connect(guarded) as client, connect(guarded) as other:
        let_a_lease_run_out(other, 3)
        with fails_within(SOON, "invalid auth token"):
            client.list()
        with fails_within(SOON, "invalid auth token"):
            client.transact([(b"a", b"1")], [])
    with connect(guarded) as client:
        client.list()


def test_a_watch_with_a_token_that_has_expired_ends(guarded: EtcdCluster) -> None:
    with connect(guarded) as client, connect(guarded) as other:
        let_a_lease_run_out(other, 3)
        with fails_within(SOON):
            next(message for message in client.watch(0) if message)


def test_a_password_does_no_harm_where_none_is_asked(tmp_path: Path) -> None:
    with EtcdCluster(tmp_path / "etcd", auth=True) as cluster:
        location = cluster.location()
        cluster.disable_auth()
        with Client(location, cluster.endpoints[0]) as client:
            client.list()
            cluster.enable_auth()
            with fails_within(SOON, "user name is empty"):
                client.list()
        with Client(location, cluster.endpoints[0]) as client:
            cluster.disable_auth()
            with fails_within(SOON, "invalid auth token"):
                client.list()
        with Client(location, cluster.endpoints[0]) as client:
            client.list()


def test_a_lease_lasts_while_it_is_kept_alive(client: Client) -> None:
    lease = client.grant(2)
    client.transact([(b"a", b"1")], [], lease)
    clear_frames = client.grant(2)
    client.transact([(b"b", b"1")], [], clear_frames)
    wait_until(lambda: client.keep_alive(lease) == 2 and not client.leased(clear_frames), timeout=8)
    assert client.leased(lease) == {b"a": b"1"}
    assert client.keep_alive(clear_frames) == 0


def test_a_lease_that_is_gone_is_told_so(client: Client) -> None:
    lease = client.grant(60)
    client.revoke(lease)
    assert client.keep_alive(lease) == 0
    assert client.leased(lease) == {}
    client.revoke(lease)
    with pytest.raises(EtcdError, match="lease not found") as trouble:
        client.transact([(b"a", b"1")], [], lease)
    assert trouble.value.lease_gone


def test_what_hangs_on_a_lease_is_told_apart(client: Client, etcd: EtcdCluster) -> None:
    ours, other = client.grant(60), client.grant(60)
    values = {b"%d" % number: b"ours" for number in range(300)}
    items = iter(values.items())
    while chunk := list(islice(items, OPERATIONS)):
        client.transact(chunk, [], ours)
    client.transact([(b"other", b"")], [], other)
    client.transact([(b"none", b"")], [])
    client.transact([(b"7", b"theirs")], [], other)
    with connect(etcd, prefix=next(PREFIXES)) as elsewhere:
        elsewhere.transact([(b"a", b"")], [], ours)
    del values[b"7"]
    assert client.leased(ours) == values


def test_with_a_lease_only_what_hangs_on_it_is_deleted(client: Client) -> None:
    ours, other = client.grant(60), client.grant(60)
    client.transact([(b"ours", b"")], [], ours)
    client.transact([(b"other", b"")], [], other)
    client.transact([(b"none", b"")], [])
    client.transact([], [b"ours", b"other", b"none", b"missing"], ours)
    assert client.list().items == [(b"none", b""), (b"other", b"")]


def test_a_claim_is_set_only_where_nobody_else_has_it(client: Client) -> None:
    ours, other = client.grant(60), client.grant(60)
    client.transact([(b"ours", b"old")], [], ours)
    client.transact([(b"other", b"theirs")], [], other)
    client.transact([(b"none", b"theirs")], [])
    claims = [(path, b"new") for path in (b"free", b"ours", b"other", b"none")]
    assert client.claim(claims, ours) == {b"other", b"none"}
    assert client.list().items == [(b"free", b"new"), (b"none", b"theirs"), (b"other", b"theirs"), (b"ours", b"new")]
    assert client.leased(ours) == {b"free": b"new", b"ours": b"new"}


def test_as_many_claims_as_etcd_takes_are_set_at_once(client: Client) -> None:
    lease = client.grant(60)
    claims = {b"%d" % number: b"" for number in range(OPERATIONS)}
    assert client.claim(claims.items(), lease) == set()
    assert client.claim(claims.items(), lease) == set()
    assert client.leased(lease) == claims
    assert client.claim(claims.items(), client.grant(60)) == claims.keys()


def test_a_claim_on_a_lease_that_is_gone_says_so(client: Client) -> None:
    lease = client.grant(60)
    client.revoke(lease)
    with pytest.raises(EtcdError, match="lease not found") as trouble:
        client.claim([(b"a", b"1")], lease)
    assert trouble.value.lease_gone
    assert client.list().items == []


def test_which_keys_are_present_is_told(client: Client) -> None:
    put(client, {b"%d" % number: b"" for number in range(0, 300, 2)})
    assert client.present([b"%d" % number for number in range(300)]) == {b"%d" % number for number in range(0, 300, 2)}
    assert client.present([]) == set()


def in_use() -> tuple[int, int]:
    return len(list(Path("/proc/self/fd").iterdir())), len(list(Path("/proc/self/task").iterdir()))


def use(location: EtcdLocation, endpoint: str) -> None:
    """Do all that a client can, or fail."""
    with Client(location, endpoint, 1) as client:
        watch = client.watch(0)
        client.list()
        client.keep_alive(client.grant(10))
        next(iter(watch))


def test_clients_leave_nothing_behind(etcd: EtcdCluster) -> None:
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
