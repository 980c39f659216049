"""A table changed by hand: repaired at the next read, and logged."""

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.system.support.netns import network_namespace
from tests.system.support.node import Node, Tree, ipvsadm, saved, table

pytestmark = pytest.mark.ipvs

TABLE = table(
    """\
-A -t 10.1.0.1:80 -s wlc
-A -u [fd00:1::1]:53 -s rr
-a -t 10.1.0.1:80 -r 10.3.0.1:80 -m -w 10
-a -t 10.1.0.1:80 -r 10.3.0.2:80 -m -w 10
-a -u [fd00:1::1]:53 -r [fd00:3::1]:53 -m -w 10
"""
)
BY_HAND = {
    "a real server that is deleted": "-d -t 10.1.0.1:80 -r 10.3.0.1:80",
    "a weight": "-e -t 10.1.0.1:80 -r 10.3.0.1:80 -m -w 11",
    "a method": "-e -t 10.1.0.1:80 -r 10.3.0.1:80 -g -w 10",
    "a scheduler": "-E -t 10.1.0.1:80 -s rr",
    "a persistence": "-E -u [fd00:1::1]:53 -s rr -p 60",
    "a virtual server that is deleted": "-D -u [fd00:1::1]:53",
    "a real server too many": "-a -t 10.1.0.1:80 -r 10.3.0.9:80 -m -w 10",
    "the whole table": "-C",
}


def serve(folder: Path, resync_interval: int) -> Iterator[Node]:
    """Run a node that has that table."""
    tree = Tree(folder / "tree")
    backends = {f"b{n}": {"ipv4": f"10.3.0.{n}", "tcp": 80} for n in (1, 2)}
    tree.service("web", {"ipv4": "10.1.0.1", "tcp": 80}, **backends)
    tree.service("dns", {"ipv6": "fd00:1::1", "udp": 53, "scheduler": "rr"}, b={"ipv6": "fd00:3::1", "udp": 53})
    flags = ["--resync-interval", str(resync_interval)]
    with network_namespace(), Node(folder, tree, flags=flags) as node:
        node.wait_for_table(TABLE)
        yield node


@pytest.fixture(scope="module")
def vigilant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A node that looks at the table every second."""
    yield from serve(tmp_path_factory.mktemp("vigilant"), 1)


@pytest.fixture
def patient(tmp_path: Path) -> Iterator[Node]:
    """A node that does not resync during the test."""
    yield from serve(tmp_path, 3600)


def changed_by_hand(node: Node, command: str) -> Callable[[], bool]:
    """Change the table; return what tells whether it is as it was."""
    node.forget()
    ipvsadm(*command.split())
    return lambda: saved() == TABLE


@pytest.mark.parametrize("command", BY_HAND.values(), ids=BY_HAND.keys())
def test_drift_is_repaired_and_logged_at_the_next_resync(vigilant: Node, command: str) -> None:
    vigilant.wait_for(changed_by_hand(vigilant, command))

    vigilant.wait_for_log(r"^warning: ipvs: drift: [1-5] changes made outside clusterf")
    vigilant.wait_for_log(r"^warning: ipvs: drift: repair: ipvsadm ")
    vigilant.wait_for(lambda: vigilant.tables[-1] == TABLE)


def test_drift_is_repaired_and_logged_at_once_on_sighup(patient: Node) -> None:
    repaired = changed_by_hand(patient, BY_HAND["a weight"])
    assert not repaired()

    patient.send(signal.SIGHUP)

    patient.wait_for(repaired)
    patient.wait_for_log(r"^warning: ipvs: drift: 1 changes made outside clusterf")


def test_drift_is_repaired_when_a_configuration_change_hits_it(patient: Node) -> None:
    tree = Tree(Path(patient.state.parent, "tree"))
    expected = [line.replace("10.3.0.1:80 -m -w 10", "10.3.0.1:80 -m -w 7") for line in TABLE]
    ipvsadm("-d", "-t", "10.1.0.1:80", "-r", "10.3.0.1:80")
    ipvsadm("-d", "-t", "10.1.0.1:80", "-r", "10.3.0.2:80")

    tree.put("services/web/backends/b1", {"ipv4": "10.3.0.1", "tcp": 80, "weight": 7})

    patient.wait_for_table(expected)


def test_repair_leaves_foreign_virtual_servers_alone_and_prints_the_table_once(vigilant: Node) -> None:
    foreign = "-A -t 10.99.0.1:80 -s rr"
    whole = sorted([*TABLE, foreign])
    printed = len(vigilant.tables)
    vigilant.forget()

    ipvsadm("-R", stdin=f"{foreign}\n-d -t 10.1.0.1:80 -r 10.3.0.1:80")
    vigilant.wait_for_table(whole)
    ipvsadm("-d", "-t", "10.1.0.1:80", "-r", "10.3.0.2:80")
    vigilant.wait_for_log("^ipvs: ", 2)
    vigilant.wait_for_table(whole)

    # reading an unchanged table, or foreign changes, prints and logs nothing
    vigilant.wait_for(lambda: len(vigilant.tables) == printed + 2)
    assert vigilant.log.count("drift: 1 changes made outside clusterf") == 2
    ipvsadm("-D", "-t", "10.99.0.1:80")
