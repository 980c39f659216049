"""The lease of a node with the role docker, and the keys on it, whatever happens to either."""

import json
import os
import shutil
import signal
from pathlib import Path

from docker.models.containers import Container

from tests.lab.docker import Engine
from tests.system.support.docker_node import LASTING, DockerNode, Published, labels, path
from tests.system.support.publisher import Witness
from tests.waiting import wait_until

SOON = 1.0  # seconds, for what takes milliseconds


def test_hung_process_is_back_before_its_keys_expire(
    tmp_path: Path, engine: Engine, published: Published, container: Container
) -> None:
    node = DockerNode(tmp_path / "node", engine.url, published, "--etcd-ttl", "10")
    with node.explained(), node:
        published.wait_for(container, 10)
        before = published.revisions()
        hung = node.children()["docker"]
        os.kill(hung, signal.SIGSTOP)
        node.wait_for_log(rf"docker \(pid {hung}\): stuck for")
        node.wait_for_log(r"connected \(API version", count=2)
        assert published.revisions() == before


def test_keys_are_back_at_once_when_their_lease_is_revoked_or_they_are_deleted(
    lasting_node: DockerNode, published: Published, container: Container
) -> None:
    with lasting_node:
        published.wait_for(container, 10)
        before = published.revisions()[path(container)]
        published.delete(path(container))
        wait_until(lambda: published.revisions().get(path(container), before) != before, SOON)
        lease = published.cluster.ctl("lease", "list").split()[-1]
        published.cluster.ctl("lease", "revoke", lease)
        published.wait_for(container, 10, SOON)


def test_copy_of_the_state_directory_brings_no_other_host_its_keys(
    tmp_path: Path, lasting_node: DockerNode, engine: Engine, other_engine: Engine, published: Published
) -> None:
    here, there = engine.run(labels=labels()), other_engine.run(labels=labels())
    copy = DockerNode(tmp_path / "copy", other_engine.url, published, *LASTING)
    with lasting_node, copy.explained():
        published.wait_for(here, 10)
        record = lasting_node.state / "docker.lease"
        wait_until(lambda: "engine" in json.loads(record.read_text()))
        shutil.copytree(lasting_node.state, copy.state)
        # a copy of a version that did not record where it was made
        old = {name: value for name, value in json.loads(record.read_text()).items() if name in {"id", "ttl", "prefix"}}
        (copy.state / "docker.lease").write_text(json.dumps(old))
        with watching(published) as witness, copy:
            published.wait_for(there, 10)
            lasting_node.wait_for_log("is used by another node, too, which published")
            copy.wait_for_log("is that of a node that lives: it has moved its keys")
            assert published.weight(here) == 10
        assert not witness.deletes


def test_lease_of_another_engine_is_left_alone(
    tmp_path: Path, lasting_node: DockerNode, engine: Engine, other_engine: Engine, published: Published
) -> None:
    here, there = engine.run(labels=labels()), other_engine.run(labels=labels())
    with lasting_node:
        published.wait_for(here, 10)
        record = lasting_node.state / "docker.lease"
        wait_until(lambda: json.loads(record.read_text()).get("engine"))
        assert json.loads(record.read_text())["machine"] == Path("/etc/machine-id").read_text().strip()
    other = DockerNode(tmp_path / "node", other_engine.url, published, *LASTING)
    with watching(published) as witness, other.explained(), other:
        published.wait_for(there, 10)
        other.wait_for_log("was recorded for another engine, using a new one")
    assert not witness.deletes


def test_container_on_two_networks_whose_record_is_lost_stays_where_it_was(
    lasting_node: DockerNode, engine: Engine, published: Published
) -> None:
    networks = [engine.client.networks.create(name) for name in ("one", "two")]
    container = engine.run(labels=labels(), network="two")
    with lasting_node:
        published.wait_for(container, 10)
        networks[0].connect(container)
        lasting_node.wait_for_log("connected to several networks .*: keeping two")
        before = published.revisions()
    (lasting_node.state / "docker.db").unlink()
    with lasting_node:
        lasting_node.wait_for_log("connected to several networks .*: keeping two")
        marker = engine.run(labels=labels("marker"))  # shows that all is published
        wait_until(lambda: published.weight(marker, "marker") == 10)
        assert published.revisions()[path(container)] == before[path(container)]


def test_what_was_published_is_published_on_while_the_engine_hangs_though_node_and_lease_are_lost(
    lasting_node: DockerNode, engine: Engine, published: Published, container: Container
) -> None:
    paused = engine.run(labels=labels())
    with lasting_node:
        published.wait_for(container, 10)
        paused.pause()
        published.wait_for(paused, 0)
    lease = published.cluster.ctl("lease", "list").split()[-1]
    engine.freeze()
    published.cluster.ctl("lease", "revoke", lease)
    assert published.keys() == {}
    with lasting_node:
        wait_until(lambda: len(published.keys()) == 2, 20)
        assert (published.weight(container), published.weight(paused)) == (10, 0)
        engine.thaw()
        paused.unpause()
        published.wait_for(paused, 10)
        assert published.weight(container) == 10


def test_lease_that_is_lost_while_the_engine_hangs_is_replaced_with_all_that_was_on_it(
    lasting_node: DockerNode, engine: Engine, published: Published, container: Container
) -> None:
    with lasting_node:
        published.wait_for(container, 10)
    engine.freeze()
    (lasting_node.state / "docker.db").unlink()
    with lasting_node:
        lasting_node.wait_for_log("unavailable")
        lease = published.cluster.ctl("lease", "list").split()[-1]
        published.cluster.ctl("lease", "revoke", lease)
        published.wait_for(container, 10, SOON)
        engine.thaw()
        paused = engine.run(labels=labels())
        published.wait_for(paused, 10)
        assert published.weight(container) == 10


def watching(published: Published) -> Witness:
    """Record what is set and deleted below the prefix of `published`."""
    return Witness(published.cluster, published.prefix)
