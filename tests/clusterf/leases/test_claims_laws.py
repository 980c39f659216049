"""Nodes that publish the same keys come to rest, with all of them published, whatever they want and whoever ends."""

from itertools import count
from unittest.mock import patch

from hypothesis import given
from hypothesis import strategies as st

from clusterf.docker.routes import route_of_node
from clusterf.leases import claimant
from clusterf.leases.claimant import Claimant
from clusterf.leases.claims import Claims
from clusterf.leases.holding import Holding
from clusterf.leases.lease_file import LeaseFile
from clusterf.leases.lease_record import LeaseRecord
from clusterf.leases.leased_keys import LeasedKeys
from tests.clusterf.support.fake_leases import FakeClient, FakeEtcd

NAMES = ["a", "b", "b"]
PATHS = [b"services/s/backends/1", b"services/s/backends/2", b"routes/r"]


class Node:
    """One of the nodes; its lease lasts until `end`."""

    def __init__(self, name):
        self.name = name
        claims = Claims(LeasedKeys(), name, lambda path: route_of_node(path, name))
        self.claims = claims
        self.holding = Holding(600, LeaseRecord(LeaseFile(None, 600, b"/")), lambda _: None, claims)
        client = FakeClient(None, "e:1", 1)
        self.holding.granted(client.grant(600))
        self.claimant = Claimant(client, self.holding)
        self.wanted = {}

    def want(self, path, number):
        value = None if number is None else b'{"publisher":"%b","n":%d}' % (self.name.encode(), number)
        self.wanted.pop(path, None)
        if value is not None:
            self.wanted[path] = value
        self.claims.want(path, value)

    def read(self, etcd):
        self.holding.keys.reset_written(etcd.leases[self.holding.lease])
        self.holding.keys.believe()
        self.claims.retry(all_of_them=True)

    def work(self):
        for _ in range(2):
            for _ in range(20):
                if (step := self.holding.keys.next()) is None:
                    break
                self.claimant.write(step)
            else:
                raise AssertionError("it does not end")
            self.claimant.look()


ACTIONS = st.lists(
    st.tuples(
        st.integers(0, 2),
        st.sampled_from(["want", "want", "want", "only", "work", "read", "end"]),
        st.sampled_from(PATHS),
        st.none() | st.integers(0, 1),
    ),
    max_size=25,
)


def act(etcd, nodes, number, action, path, value):
    node = nodes[number % len(nodes)]
    match action:
        case "want":
            node.want(path, value)
        case "only":
            node.want(path, value)
            node.claims.want_only(node.wanted)
        case "work":
            node.work()
        case "read":
            node.read(etcd)
        case "end" if len(nodes) > 1:
            etcd.end(node.holding.lease)
            nodes.remove(node)


@given(ACTIONS)
def test_nodes_come_to_rest_and_all_that_one_wants_is_published(actions):
    FakeClient.etcd = etcd = FakeEtcd()
    seconds = count()
    with patch.object(claimant.time, "monotonic", lambda: next(seconds)):
        nodes = [Node(name) for name in NAMES]
        for action in actions:
            act(etcd, nodes, *action)
        for node in nodes:
            node.claims.want_only(node.wanted)  # as after a list: until then nothing that is found is deleted
        for node in nodes * 6:
            node.read(etcd)
            node.work()
        written = etcd.revision
        for node in nodes * 3:
            node.work()
        assert etcd.revision == written
    for node in nodes:
        assert {node.claims.renamed.get(path, path) for path in node.wanted} <= etcd.keys.keys()
        assert {v for path, v in node.wanted.items() if path.startswith(b"routes/")} <= set(etcd.keys.values())
    unwanted = [path for path in PATHS if not any(path in node.wanted for node in nodes)]
    assert not etcd.keys.keys() & set(unwanted)
