"""`--noop`: the kernel is read and never written; the log says what a real node would do."""

import pytest

from tests.system.support.node import Node, Tree, ipvsadm, replayed, saved, table

pytestmark = pytest.mark.ipvs

BEFORE = table(
    """\
-A -t 10.1.0.1:80 -s rr
-A -t 10.99.0.1:80 -s rr
-a -t 10.1.0.1:80 -r 10.3.0.1:80 -m -w 3
-a -t 10.1.0.1:80 -r 10.3.0.9:80 -m -w 3
"""
)
AFTER = """\
-A -t 10.1.0.1:80 -s wlc
-A -t 10.99.0.1:80 -s rr
-A -u [fd00:1::1]:53 -s wlc
-a -t 10.1.0.1:80 -r 10.3.0.1:80 -m -w 10
-a -t 10.1.0.1:80 -r 10.3.0.2:80 -m -w 10
-a -u [fd00:1::1]:53 -r [fd00:3::1]:53 -m -w 10
"""
OPERATIONS = [
    "ipvsadm -E -t 10.1.0.1:80 -s wlc",
    "ipvsadm -e -t 10.1.0.1:80 -r 10.3.0.1:80 -m -w 10",
    "ipvsadm -a -t 10.1.0.1:80 -r 10.3.0.2:80 -m -w 10",
    "ipvsadm -A -u [fd00:1::1]:53 -s wlc",
    "ipvsadm -a -u [fd00:1::1]:53 -r [fd00:3::1]:53 -m -w 10",
    "ipvsadm -d -t 10.1.0.1:80 -r 10.3.0.9:80",
]


@pytest.fixture
def web(namespace: None, tree: Tree) -> Tree:
    """A configuration, and a kernel with a different table."""
    backends = {f"b{n}": {"ipv4": f"10.3.0.{n}", "tcp": 80} for n in (1, 2)}
    tree.service("web", {"ipv4": "10.1.0.1", "tcp": 80}, **backends)
    tree.service("dns", {"ipv6": "fd00:1::1", "udp": 53}, b={"ipv6": "fd00:3::1", "udp": 53})
    ipvsadm("-R", stdin="\n".join(BEFORE))
    return tree


def test_noop_logs_the_operations_of_a_real_run_and_writes_nothing(node: Node, web: Tree) -> None:
    assert node.once("--noop") == 0

    assert saved() == BEFORE
    assert node.only_table == table(AFTER)
    planned = node.operations
    assert sorted(planned) == sorted(OPERATIONS)
    assert replayed([*BEFORE, *planned]) == table(AFTER)
    assert "ipvs: ipvsadm" not in node.log

    assert node.once() == 0
    assert node.operations == planned
    assert "ipvs noop:" not in node.log
    assert saved() == table(AFTER)


def test_noop_continues_from_its_shadow_table(node: Node, web: Tree) -> None:
    node.start("--noop")
    try:
        node.wait_for(lambda: node.tables[-1:] == [table(AFTER)])
        node.forget()
        web.remove("services/dns")
        node.wait_for(lambda: node.tables[-1] == [line for line in table(AFTER) if "-u" not in line])
        assert node.operations == ["ipvsadm -D -u [fd00:1::1]:53"]
    finally:
        assert node.stop() == 0
    assert saved() == BEFORE


def test_noop_records_no_ownership_and_flushes_nothing(node: Node, web: Tree) -> None:
    assert node.once("--noop", "--flush") == 0
    assert node.operations[0] == "ipvsadm -C"
    assert saved() == BEFORE

    web.clear()
    assert node.once() == 0
    assert node.operations == []
    assert saved() == BEFORE


def test_noop_without_the_capability_assumes_an_empty_table(node: Node, web: Tree) -> None:
    unprivileged = Node(node.state.parent, web, through=["setpriv", "--bounding-set=-net_admin"])

    assert unprivileged.once("--noop") == 0

    assert "cannot read the table, assuming an empty one: the capability CAP_NET_ADMIN is missing" in unprivileged.log
    assert (
        replayed(unprivileged.operations)
        == unprivileged.only_table
        == [line for line in table(AFTER) if "10.99" not in line]
    )
