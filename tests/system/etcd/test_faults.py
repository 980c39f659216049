"""etcd fails in every way it can while a node follows it: nothing is ever removed that stays, and the end is exact."""

import os
import signal
import socket
import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from clusterf.etcd.client import Client
from tests.lab.etcd import EtcdCluster, Member
from tests.system.support.etcd_config import Config, EtcdNode, etcd_node
from tests.waiting import wait_until

SERVICES = [(service, backend, 10) for service in range(1, 4) for backend in range(1, 6)]
AWAY = "keeping the current state"


@pytest.fixture
def config(etcd: EtcdCluster) -> Iterator[Config]:
    """A configuration on the one server."""
    config = Config(etcd)
    config.change(*SERVICES)
    yield config
    etcd.start()


@pytest.fixture
def shared(three: EtcdCluster) -> Iterator[Config]:
    """A configuration on three servers."""
    config = Config(three)
    config.change(*SERVICES)
    yield config
    three.start()


@pytest.fixture
def node(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[EtcdNode]:
    """A node that follows the test's configuration, and in the end has just what that has."""
    config: Config = request.getfixturevalue("shared" if "shared" in request.fixturenames else "config")
    with etcd_node(tmp_path / "node", config.cluster.url(config.prefix)) as node:
        node.wait_for_shadow(config.table)
        yield node
        node.wait_for_shadow(config.table)


def gone(service: int, backend: int) -> str:
    return f"ipvsadm -d -t 10.107.0.{service}:80 -r 10.{service}.0.{backend}:80"


def gone_service(service: int) -> str:
    return f"ipvsadm -D -t 10.107.0.{service}:80"


def followed(node: EtcdNode, cluster: EtcdCluster) -> Member:
    """Return the member that the node follows."""
    node.wait_for_log(r": following \S+ from")
    endpoint = node.log.rpartition(": following ")[2].split()[0]
    return next(member for member in cluster.members if member.endpoint == endpoint)


def leader(cluster: EtcdCluster) -> Member:
    """Return the member that leads."""
    for member in cluster.members:
        fields = cluster._run("endpoint", "status", endpoints=[member.endpoint]).stdout.split(", ")
        if fields[4:5] == ["true"]:
            return member
    raise AssertionError("nobody leads")


def test_a_server_that_is_killed_and_restarted_under_load_loses_nothing(config: Config, node: EtcdNode) -> None:
    for weight in range(1, 4):
        config.change(*[(service, backend, weight) for service, backend, _ in SERVICES], (9, weight, 1))
        config.cluster.kill()
        node.wait_for_log(AWAY)
        config.cluster.start()
        config.change((9, weight, None), (9, weight + 1, 1))
    node.wait_for_shadow(config.table)
    assert set(node.deletions) <= {gone(9, 1), gone(9, 2), gone(9, 3)}


def test_with_a_member_down_another_is_followed_at_once(shared: Config, node: EtcdNode) -> None:
    for weight in range(1, 4):
        followed(node, shared.cluster).kill()
        shared.change((1, 1, weight))
        node.wait_for_shadow(shared.table)
        shared.cluster.start()
    assert node.deletions == []


def test_when_the_leader_is_killed_under_load_nothing_is_lost(shared: Config, node: EtcdNode) -> None:
    stop = threading.Event()

    def write() -> int:
        rounds = 0
        while not stop.is_set():
            shared.change(*[(service, backend, rounds % 100) for service, backend, _ in SERVICES])
            rounds += 1
        return rounds

    with ThreadPoolExecutor() as pool:
        writing = pool.submit(write)
        try:
            member = leader(shared.cluster)
            member.kill()
            wait_until(lambda: leader_or_none(shared.cluster), 20)
        finally:
            stop.set()
        assert writing.result() > 1
    shared.change((1, 1, None))
    node.wait_for_shadow(shared.table)
    assert node.deletions == [gone(1, 1)]


def leader_or_none(cluster: EtcdCluster) -> Member | None:
    with suppress(AssertionError):
        return leader(cluster)
    return None


def test_without_a_quorum_everything_stays_and_then_goes_on(shared: Config, node: EtcdNode) -> None:
    _, two, three = shared.cluster.members
    shared.change((1, 1, 3))
    node.wait_for_shadow(shared.table)
    two.kill()
    three.kill()
    node.wait_for_log("no leader|unavailable|deadline")
    assert node.deletions == []
    two.launch()
    shared.cluster.wait_for(two)
    shared.change((1, 1, None), (1, 2, 7))
    node.wait_for_shadow(shared.table)
    assert node.deletions == [gone(1, 1)]


def test_a_member_that_is_frozen_is_left_for_another(shared: Config, node: EtcdNode) -> None:
    member = followed(node, shared.cluster)
    number = shared.cluster.members.index(member)
    member.freeze()
    try:
        shared.change((1, 1, None), through=(number + 1) % 3)
        node.wait_for_shadow(shared.table)
        assert followed(node, shared.cluster) is not member
        assert node.deletions == [gone(1, 1)]
    finally:
        member.thaw()


def test_when_the_only_server_is_frozen_everything_stays_and_then_goes_on(config: Config, node: EtcdNode) -> None:
    member = config.cluster.members[0]
    member.freeze()
    try:
        node.wait_for_log(AWAY)
        assert node.deletions == []
    finally:
        member.thaw()
    config.change((1, 1, None))
    node.wait_for_shadow(config.table)
    assert node.deletions == [gone(1, 1)]


def test_a_node_stops_at_once_while_a_call_hangs(config: Config, tmp_path: Path) -> None:
    config.cluster.members[0].freeze()
    try:
        with etcd_node(tmp_path, config.cluster.url(config.prefix)) as node:
            node.wait_for_log("the table cannot be read and is taken as empty")
            wait_until(lambda: "config" in node.children())
            node.send(signal.SIGTERM)
            assert node._process.wait(4) == 0
    finally:
        config.cluster.members[0].thaw()


class Proxy:
    """Stands between a node and a server, until it is silent: then it takes everything and hands on nothing."""

    def __init__(self, port: int) -> None:
        self._to = ("127.0.0.1", port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.silent = threading.Event()
        # what the server may still say before it falls silent
        self.allowance = 1 << 40
        self._sockets: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def heal(self) -> None:
        """Hand on all again, on new connections."""
        self.hang_up()
        self.allowance = 1 << 40
        self.silent.clear()

    def hang_up(self) -> None:
        """End all connections; while it is silent there are no new ones."""
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
                threading.Thread(target=self._hand_on, args=(near, far), daemon=True).start()
                threading.Thread(target=self._hand_on, args=(far, near, True), daemon=True).start()

    def _hand_on(self, source: socket.socket, sink: socket.socket, counted: bool = False) -> None:
        with source, sink, suppress(OSError):
            while data := source.recv(4096):
                self.allowance -= len(data) if counted else 0
                if self.allowance < 0:
                    self.silent.set()
                if not self.silent.is_set():
                    sink.sendall(data)


@contextmanager
def proxy(config: Config) -> Iterator[tuple[Proxy, str]]:
    """Yield a proxy before the first server, and the URL of the configuration behind it."""
    it = Proxy(config.cluster.members[0].client_port)
    try:
        yield it, f"etcd://{it.endpoint}/{config.prefix}"
    finally:
        it.close()


def test_a_watch_that_falls_silent_is_noticed_and_what_it_missed_is_done(config: Config, tmp_path: Path) -> None:
    with proxy(config) as (between, url), etcd_node(tmp_path, url) as node:
        node.wait_for_shadow(config.table)
        between.silent.set()
        config.change((1, 1, None), (1, 2, 3))
        node.wait_for_log(AWAY)
        between.heal()
        node.wait_for_shadow(config.table)
        assert node.deletions == [gone(1, 1)]


def compact(config: Config) -> None:
    with Client(config.cluster.location(config.prefix), config.cluster.endpoints[0]) as client:
        config.cluster.compact(client.list().revision)


@pytest.mark.parametrize("compacted", [False, True])
@pytest.mark.parametrize("deleted", [False, True])
def test_what_was_deleted_and_compacted_while_etcd_was_not_reached_is_done(
    config: Config, tmp_path: Path, *, compacted: bool, deleted: bool
) -> None:
    with proxy(config) as (between, url), etcd_node(tmp_path, url) as node:
        node.wait_for_shadow(config.table)
        between.silent.set()
        between.hang_up()
        if deleted:
            config.change((1, 1, None))
            config.drop(2)
        config.change((3, 1, 5), (3, 1, 6))
        if compacted:
            compact(config)
        between.heal()
        node.wait_for_shadow(config.table)
        assert sorted(node.deletions) == ([gone_service(2), gone(1, 1)] if deleted else [])


def test_compaction_while_pages_are_listed_leads_to_a_new_list(config: Config, node: EtcdNode) -> None:
    config.change(*[(service, backend, 1) for service in range(10, 20) for backend in range(1, 400)])
    node.wait_for_shadow(config.table)
    for weight in range(2, 8):
        node.send(signal.SIGHUP)
        config.change((10, 1, weight))
        compact(config)
    config.change((10, 1, None))
    node.wait_for_shadow(config.table)
    assert node.deletions == [gone(10, 1)]


def test_a_watch_that_the_server_ends_is_begun_anew(config: Config, tmp_path: Path) -> None:
    with proxy(config) as (between, url), etcd_node(tmp_path, url) as node:
        node.wait_for_shadow(config.table)
        for weight in range(1, 30):
            between.hang_up()
            config.change((1, 1, weight))
        config.change((1, 1, None))
        node.wait_for_shadow(config.table)
        assert node.deletions == [gone(1, 1)]


def test_an_etcd_that_was_restored_empty_or_otherwise_is_followed_exactly(tmp_path: Path) -> None:
    with EtcdCluster(tmp_path / "etcd") as cluster:
        config = Config(cluster, "clusterf")
        config.change(*SERVICES)
        for weight in range(5, 10):
            config.change((1, 1, weight))
        with etcd_node(tmp_path / "node", cluster.url()) as node:
            node.wait_for_shadow(config.table)
            cluster.kill()
            cluster.start(wipe=True)
            config.services.clear()
            node.wait_for_shadow([])
            config.change((1, 1, 3))
            node.wait_for_shadow(config.table)
            config.change(*SERVICES)
            node.wait_for_shadow(config.table)

            node.forget()
            cluster.kill()
            node.wait_for_log(AWAY)
            restored = config.table
            node.pause()
            cluster.start(wipe=True)
            config.services.clear()
            config.change((1, 2, 10), (7, 1, 1))
            assert config.table != restored
            node.resume()
            wait_until(lambda: node.tables[-1] == config.table)
            assert gone(1, 2) not in node.deletions
            config.change((7, 1, None))
            wait_until(lambda: node.tables[-1] == config.table)


def test_etcd_away_at_the_start_without_a_copy_means_no_operation_until_it_comes(
    config: Config, tmp_path: Path
) -> None:
    config.cluster.kill()
    with etcd_node(tmp_path, config.cluster.url(config.prefix)) as node:
        node.wait_for_log("nothing is written until it responds")
        assert not node.operations
        assert not node.tables
        config.cluster.start()
        node.wait_for_shadow(config.table)
        assert node.deletions == []


@pytest.fixture
def stopped(config: Config, tmp_path: Path) -> EtcdNode:
    """A node that has a copy, stopped, as etcd is."""
    node = etcd_node(tmp_path / "node", config.cluster.url(config.prefix))
    with node:
        node.wait_for_shadow(config.table)
        config.change((1, 1, 11))
        node.wait_for_shadow(config.table)
    config.cluster.kill()
    return node


def test_a_node_works_from_its_copy_and_then_does_what_has_changed(config: Config, stopped: EtcdNode) -> None:
    with stopped as node:
        node.wait_for_log(r"using the last-good copy of revision \d+, \d seconds old")
        node.wait_for_shadow(config.table)
        before = node.operations
        node.kill("config")
        node.wait_for_log("using the last-good copy", 2)
        config.cluster.start()
        config.change((1, 1, None), (1, 2, 3))
        node.wait_for_shadow(config.table)
        edit = "ipvsadm -e -t 10.107.0.1:80 -r 10.1.0.2:80 -m -w 3"
        assert sorted(node.operations[len(before) :]) == [gone(1, 1), edit]


def test_what_was_deleted_while_the_node_and_etcd_were_away_goes_when_it_is_back(
    config: Config, stopped: EtcdNode
) -> None:
    before = config.table
    config.cluster.start()
    config.change((1, 1, None), (1, 2, None))
    compact(config)
    config.cluster.kill()
    with stopped as node:
        node.wait_for_shadow(before)
        assert node.deletions == []
        config.cluster.start()
        node.wait_for_shadow(config.table)
        assert sorted(node.deletions) == [gone(1, 1), gone(1, 2)]


def flip(file: Path) -> None:
    """Damage what the copy holds."""
    data = file.read_bytes()
    place = data.rindex(b'"weight"')
    file.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])


def scribble(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[100:2000] = os.urandom(1900)
    file.write_bytes(data)


def truncate(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


def make_foreign(file: Path) -> None:
    file.unlink()
    with sqlite3.connect(file) as db:
        db.execute("CREATE TABLE entries (a)")
    db.close()


@pytest.mark.parametrize("damage", [flip, scribble, truncate, make_foreign])
def test_a_copy_that_is_damaged_or_foreign_is_reported_and_not_used(
    config: Config, stopped: EtcdNode, damage: Callable[[Path], None]
) -> None:
    file = stopped.state / "config.db"
    with sqlite3.connect(file) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.close()
    damage(file)
    with stopped as node:
        node.wait_for_log("nothing is written until it responds")
        assert "error: state:" in node.log
        assert node.operations == []
        config.cluster.start()
        node.wait_for_shadow(config.table)
        config.cluster.kill()
    with stopped as node:  # what was written since is whole
        node.wait_for_shadow(config.table)


def test_half_of_a_first_list_is_never_used(config: Config, tmp_path: Path) -> None:
    config.change(*[(service, backend, 1) for service in range(10, 20) for backend in range(1, 500)])
    with proxy(config) as (between, url):
        between.allowance = 300_000  # some of its pages
        with etcd_node(tmp_path, url) as node:
            assert between.silent.wait(10)
            node.kill("config")
            node.wait_for_log("nothing is written until it responds")
            assert not node.operations
            assert not node.tables
            between.heal()
            node.wait_for_shadow(config.table)
            assert node.deletions == []


def resident(pid: int) -> int:
    """Return the megabytes of memory that a process has."""
    fields = Path(f"/proc/{pid}/statm").read_text().split()
    return int(fields[1]) * os.sysconf("SC_PAGESIZE") >> 20


def test_a_thousand_changes_a_second_end_exactly_and_cost_no_memory(config: Config, node: EtcdNode) -> None:
    keys = [(service, backend) for service in range(20, 30) for backend in range(1, 51)]
    config.change(*[(*key, 1) for key in keys])
    node.wait_for_shadow(config.table)
    director = node.children()["director"]
    before = resident(director), resident(node.children()["config"])
    for number in range(20_000 // len(keys)):
        if number == 8:
            node.kill("config")
        config.change(*[(*key, (number * 7 + key[1]) % 100 + 1) for key in keys])
    config.change(*[(*key, None) for key in keys[:3]])
    node.wait_for_shadow(config.table)
    assert set(node.deletions) == {gone(*key) for key in keys[:3]}
    assert node.children()["director"] == director
    after = resident(director), resident(node.children()["config"])
    assert after[0] - before[0] < 30
    assert after[1] - before[1] < 40
