"""From etcd to a real kernel: the example of README.md, put by put."""

import signal
from pathlib import Path
from socket import create_server

import pytest

from tests.lab.etcd import EtcdCluster
from tests.system.support.node import Node

pytestmark = pytest.mark.ipvs

SERVICE = "/clusterf/services/test"
FRONTEND = "-A -t 10.107.107.107:1337 -s wlc"
ONE = "-a -t 10.107.107.107:1337 -r 10.3.107.1:1337"
TWO = "-a -t 10.107.107.107:1337 -r 10.3.107.2:1337"


def test_each_put_and_delete_changes_the_kernel(namespace: None, tmp_path: Path) -> None:
    with EtcdCluster(tmp_path / "etcd") as etcd, Node(tmp_path, flags=["--config-source", etcd.url()]) as node:
        node.wait_for_table([])

        etcd.ctl("put", f"{SERVICE}/frontend", '{"ipv4": "10.107.107.107", "tcp": 1337}')
        node.wait_for_table([FRONTEND])
        etcd.ctl("put", f"{SERVICE}/backends/test1", '{"ipv4": "10.3.107.1", "tcp": 1337}')
        node.wait_for_table([FRONTEND, f"{ONE} -m -w 10"])
        etcd.ctl("put", f"{SERVICE}/backends/test2", '{"ipv4": "10.3.107.2", "tcp": 1337}')
        node.wait_for_table([FRONTEND, f"{ONE} -m -w 10", f"{TWO} -m -w 10"])
        etcd.ctl("put", "/clusterf/routes/test", '{"Prefix": "10.3.107.0/24", "IPVSMethod": "droute"}')
        node.wait_for_table([FRONTEND, f"{ONE} -g -w 10", f"{TWO} -g -w 10"])

        etcd.ctl("del", f"{SERVICE}/backends/test1")
        node.wait_for_table([FRONTEND, f"{TWO} -g -w 10"])
        etcd.ctl("del", "--prefix", f"{SERVICE}/")
        node.wait_for_table([])


def test_table_survives_an_outage_of_etcd_and_a_restart_of_the_node(namespace: None, tmp_path: Path) -> None:
    with EtcdCluster(tmp_path / "etcd") as etcd:
        etcd.ctl("put", f"{SERVICE}/frontend", '{"ipv4": "10.107.107.107", "tcp": 1337}')
        etcd.ctl("put", f"{SERVICE}/backends/test1", '{"ipv4": "10.3.107.1", "tcp": 1337}')
        expected = [FRONTEND, f"{ONE} -m -w 10"]
        node = Node(tmp_path, flags=["--config-source", etcd.url()])
        with node:
            node.wait_for_table(expected)
            etcd.kill()
            node.wait_for_log("keeping the current state")
            node.wait_for_kernel(expected)
        with node:
            node.wait_for_log("using the last-good copy")
            node.wait_for_table(expected)
            assert node.operations == []
            etcd.start()
            etcd.ctl("del", f"{SERVICE}/backends/test1")
            node.wait_for_table([FRONTEND])


def test_another_etcd_takes_nothing_from_the_table_until_it_is_confirmed(namespace: None, tmp_path: Path) -> None:
    with EtcdCluster(tmp_path / "etcd") as etcd:
        etcd.ctl("put", f"{SERVICE}/frontend", '{"ipv4": "10.107.107.107", "tcp": 1337}')
        etcd.ctl("put", f"{SERVICE}/backends/test1", '{"ipv4": "10.3.107.1", "tcp": 1337}')
        expected = [FRONTEND, f"{ONE} -m -w 10"]
        node = Node(tmp_path, flags=["--config-source", etcd.url(), "--removal-hold", "0"])
        with node:
            node.wait_for_table(expected)
            etcd.kill()
            etcd.start(wipe=True, token="other")
            node.wait_for_log("another etcd cluster answers.*: holding removals until that ends")
            etcd.ctl("put", f"{SERVICE}/backends/test2", '{"ipv4": "10.3.107.2", "tcp": 1337}')
            etcd.ctl("put", f"{SERVICE}/frontend", '{"ipv4": "10.107.107.107", "tcp": 1337}')
            expected.append(f"{TWO} -m -w 10")
            node.wait_for_table(expected)
            node.forget()
            node.kill("director")
            node.wait_for_table(expected)
            node.kill("config")
            node.wait_for_log("holding removals until that ends")
            assert node.operations == []
        with node:
            node.wait_for_log("holding removals until that ends")
            node.wait_for_kernel(expected)
            node.send(signal.SIGUSR2)
            node.wait_for_kernel([FRONTEND, f"{TWO} -m -w 10"])


def test_backends_that_another_etcd_lacks_are_probed_until_it_is_confirmed(namespace: None, tmp_path: Path) -> None:
    server = create_server(("127.0.0.1", 0))
    port = server.getsockname()[1]
    flags = ["--health-allow", "127.0.0.1"]
    with EtcdCluster(tmp_path / "etcd") as etcd, Node(tmp_path, flags=["--config-source", etcd.url(), *flags]) as node:
        etcd.ctl("put", "/clusterf/health", '{"type": "tcp", "interval": 0.2, "timeout": 0.2, "rise": 1, "fall": 1}')
        etcd.ctl("put", f"{SERVICE}/frontend", '{"ipv4": "10.107.107.107", "tcp": 1337}')
        etcd.ctl("put", f"{SERVICE}/backends/test1", f'{{"ipv4": "127.0.0.1", "tcp": {port}}}')
        real = f"-a -t 10.107.107.107:1337 -r 127.0.0.1:{port} -m -w"
        node.wait_for_table([FRONTEND, f"{real} 10"])
        etcd.kill()
        etcd.start(wipe=True, token="other")
        node.wait_for_log("another etcd cluster answers.*: holding removals until that ends")
        server.close()
        node.wait_for_table([FRONTEND, f"{real} 0"])
        with create_server(("127.0.0.1", port)):
            node.wait_for_table([FRONTEND, f"{real} 10"])
            node.send(signal.SIGUSR2)
            node.wait_for_table([])
