"""A network of several hosts: each of them publishes a route to it, on its own lease."""

from pathlib import Path

import pytest

from clusterf.etcd.client import Client
from tests.lab.etcd import EtcdCluster
from tests.system.support.node import Node

pytestmark = pytest.mark.ipvs

WEB = "-A -t 10.107.107.107:1337 -s wlc"
ONE, TWO = (f"-a -t 10.107.107.107:1337 -r 192.0.2.{n}:1337 -m -w 20" for n in (1, 2))
NAMES = {1: b"routes/net", 2: b"routes/net-host2"}


def route(gateway: int) -> bytes:
    return b'{"Prefix":"10.3.107.0/24","Gateway":"192.0.2.%d","IPVSMethod":"masq"}' % gateway


def test_another_host_s_route_takes_over_without_a_moment_without_weight(namespace: None, tmp_path: Path) -> None:
    with EtcdCluster(tmp_path / "etcd") as etcd, Client(etcd.location(), etcd.endpoints[0]) as client:
        lasting = client.grant(600)
        client.transact([(b"services/test/frontend", b'{"ipv4": "10.107.107.107", "tcp": 1337}')], [])
        backends = [(b"services/test/backends/%d" % n, b'{"ipv4":"10.3.107.%d","tcp":1337}' % n) for n in (1, 2)]
        client.transact(backends, [], lasting)
        with Node(tmp_path, flags=["--config-source", etcd.url()]) as node:
            client.transact([(NAMES[2], route(2))], [], lasting)
            node.wait_for_table([WEB, TWO])
            # a host with a lower name comes, dies, and comes back
            passing = client.grant(10)
            client.transact([(NAMES[1], route(1))], [], passing)
            node.wait_for_table([WEB, ONE])
            node.wait_for_log("routes/net-host2: ignored: routes/net has the same prefix and a lower name")
            node.forget()
            client.revoke(passing)  # the director may wait for twice its TTL, to see whether others end, too
            node.wait_for_table([WEB, TWO])
            add, *rest = node.operations
            assert add == f"ipvsadm {TWO}"
            assert not any("192.0.2.2" in operation for operation in rest)
            # its route is written again, by itself or by somebody else, with the same value
            node.forget()
            client.transact([(NAMES[2], route(2))], [], client.grant(600))
            client.transact([(b"routes/net-host3", route(3))], [], client.grant(600))
            client.transact([(NAMES[1], route(2))], [], client.grant(600))
            node.wait_for_log("routes/net-host3: ignored: routes/net has the same prefix and a lower name")
            assert node.operations == []
