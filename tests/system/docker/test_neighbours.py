"""Nodes that publish the same: a network of two hosts, and two nodes on one engine."""

import json
import re
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import docker
import pytest
from docker.models.containers import Container
from docker.models.networks import Network

from clusterf.etcd.client import Client
from tests.lab.docker import Engine
from tests.system.support.docker_node import NODE_NAME, DockerNode, Published, labels, path
from tests.waiting import wait_until

OTHER = "docker2"
SUBNET = "172.30.7.0/24"
STANDS_BY = rf"containers of ours are published by node {NODE_NAME}: it is on the same engine"


def flags(host: int) -> list[str]:
    return ["--route-network", "shared", "--route-ipvs-method", "masq", "--route-gateway4", f"192.0.2.{host}"]


def route(host: int) -> dict[str, str]:
    return {"Prefix": SUBNET, "Gateway": f"192.0.2.{host}", "IPVSMethod": "masq"}


@pytest.fixture
def network(engine: Engine) -> Iterator[Network]:
    """A network that both nodes advertise, as those of two hosts do with an overlay."""
    ipam = docker.types.IPAMConfig(pool_configs=[docker.types.IPAMPool(subnet=SUBNET)])
    network = engine.client.networks.create("shared", ipam=ipam)
    yield network
    network.remove()


@pytest.fixture
def nodes(engine: Engine, published: Published, tmp_path: Path) -> Iterator[tuple[DockerNode, DockerNode]]:
    """Two nodes that are not started."""
    one = DockerNode(tmp_path / "one", engine.url, published, *flags(1))
    two = DockerNode(tmp_path / "two", engine.url, published, *flags(2), "--node-name", OTHER)
    with ExitStack() as stack:
        for node in (one, two):
            stack.enter_context(node.explained())
        yield one, two


def reloaded(engine: Engine, published: Published, *nodes: DockerNode) -> None:
    """Have the nodes compare their keys with etcd's, as they do every half a minute, again and again."""
    for node in nodes * 3:
        count = node.log.count("reloading")
        node.send(signal.SIGHUP)
        node.wait_for_log("reloading", count=count + 1)
        marker = engine.run(labels=labels())  # shows that it has been done
        published.wait_for(marker, 10)
        marker.remove(force=True)
        published.wait_for(marker, None)


def test_each_host_of_a_network_has_a_route_to_it(
    nodes: tuple[DockerNode, DockerNode], network: Network, published: Published, engine: Engine
) -> None:
    one, two = nodes
    first, second = f"routes/{network.id}", f"routes/{network.id}-{OTHER}"
    with one:
        wait_until(lambda: published.keys() == {first: route(1)})
        with two:
            wait_until(lambda: published.keys() == {first: route(1), second: route(2)})
            two.wait_for_log(f"{first} is another node's route to the same network: publishing ours as {second}")
            before = published.revisions()
            reloaded(engine, published, one, two)
            assert published.revisions() == before
            one.crash()
            wait_until(lambda: published.keys() == {second: route(2)})
            one.start()
            wait_until(lambda: published.keys() == {first: route(1), second: route(2)})
            assert published.revisions()[second] == before[second]
        assert len(re.findall("another node's route", one.log + two.log)) == 1


def test_second_node_on_an_engine_stands_by_and_takes_over_without_a_gap(
    nodes: tuple[DockerNode, DockerNode], published: Published, container: Container, engine: Engine
) -> None:
    one, two = nodes
    with one:
        published.wait_for(container, 10)
        with two:
            two.wait_for_log(STANDS_BY)
            before = published.revisions()
            reloaded(engine, published, one, two)
            assert published.revisions() == before
            container.stop(timeout=0)
            published.wait_for(container, 0)
            container.start()
            published.wait_for(container, 10)
            assert published.values()[path(container)]["publisher"] == NODE_NAME
            created = published.revisions()[path(container)].created
            one.crash()
            wait_until(lambda: published.values()[path(container)]["publisher"] == OTHER)
            two.wait_for_log(f"no longer standing by for node {NODE_NAME}")
            assert published.revisions()[path(container)].created == created, "it was never gone"
            one.start()
            one.wait_for_log(f"containers of ours are published by node {OTHER}")
            another = engine.run(labels=labels())
            published.wait_for(another, 10)
            reloaded(engine, published, one, two)
            assert published.revisions()[path(container)].created == created
            assert len(re.findall(STANDS_BY, two.log)) <= 2, two.log  # before it ended, and after
            another.remove(force=True)


def test_two_nodes_with_one_name_on_an_engine_do_not_fight(
    engine: Engine, published: Published, container: Container, tmp_path: Path
) -> None:
    with DockerNode(tmp_path / "one", engine.url, published) as one:
        published.wait_for(container, 10)
        before = published.revisions()
        two = DockerNode(tmp_path / "two", engine.url, published)
        with two.explained(), two:
            two.wait_for_log("containers of ours are published by another node with our name")
            reloaded(engine, published, one, two)
            assert published.revisions() == before
            one.crash()
            two.wait_for_log("no longer standing by for another node with our name")
            assert published.revisions()[path(container)].created == before[path(container)].created
            one.start()
            one.wait_for_log(r"connected \(API version")


def test_route_that_an_earlier_version_has_taken_stays_until_that_ends(
    nodes: tuple[DockerNode, DockerNode], network: Network, published: Published, engine: Engine
) -> None:
    one, _ = nodes
    first, second = f"routes/{network.id}", f"routes/{network.id}-{NODE_NAME}"
    cluster = published.cluster
    with Client(cluster.location(published.prefix), cluster.endpoints[0]) as earlier:
        lease = earlier.grant(60)
        put = [(first.encode(), json.dumps(route(2)).encode())]
        earlier.transact(put, [], lease)
        with one:
            wait_until(lambda: published.keys() == {first: route(2), second: route(1)})
            # it writes its key every half a minute
            earlier.transact(put, [], lease)
            reloaded(engine, published, one)
            assert published.keys() == {first: route(2), second: route(1)}
            before = published.revisions()[second]
            earlier.revoke(lease)
            reloaded(engine, published, one)
            assert published.revisions() == {second: before}
