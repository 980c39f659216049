"""A node with the role docker and its keys, while the engine, etcd or the node itself ends, hangs or is unreachable."""

import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from docker.models.containers import Container

from tests.lab.docker import Engine
from tests.lab.images import GRACEFUL, WEB
from tests.system.support.docker_node import LASTING, DockerNode, Published, labels, path
from tests.waiting import wait_until

TTL = 4.0  # seconds, of the nodes here; etcd looks for expired leases every half second


def test_restart_of_the_engine_changes_no_key_with_live_restore(
    node: DockerNode, engine: Engine, published: Published, container: Container
) -> None:
    engine.restart(live_restore=True)
    container.start()
    with node:
        published.wait_for(container, 10)
        before = published.revisions()
        for times, end in enumerate((engine.stop, engine.kill), 1):
            end()
            node.wait_for_log("keeping the published keys", count=times)
            assert published.revisions() == before
            engine.start()
            node.wait_for_log(r"connected \(API version", count=times + 1)
        another = engine.run(labels=labels())
        published.wait_for(another, 10)
        assert published.revisions()[path(container)] == before[path(container)]
        container.stop(timeout=0)
        published.wait_for(container, 0)


def test_containers_that_end_with_the_engine_drain_when_it_is_back(
    node: DockerNode, engine: Engine, published: Published, container: Container
) -> None:
    with node:
        published.wait_for(container, 10)
        engine.stop()
        node.wait_for_log("keeping the published keys")
        assert published.weight(container) is not None  # the event of its end may have come, or not
        engine.start()
        published.wait_for(container, 0)
        container.start()
        published.wait_for(container, 10)


def test_engine_that_hangs_under_load_is_detected_and_followed_again(
    node: DockerNode, engine: Engine, published: Published, container: Container
) -> None:
    with node:
        published.wait_for(container, 10)
        before = published.revisions()[path(container)]
        gone = engine.run(labels=labels())
        over = threading.Event()
        load = threading.Thread(target=_churn, args=(engine, over))
        load.start()
        try:
            wait_until(lambda: len(published.keys()) > 2)
            engine.freeze()
            node.wait_for_log(r"unavailable \(timed out after 5 seconds\), reconnecting")
            assert published.revisions()[path(container)] == before
        finally:
            over.set()
            engine.thaw()
            load.join()
        gone.remove(force=True)
        another = engine.run(labels=labels())
        wait_until(lambda: published.keys().keys() == {path(container), path(another)})
        assert published.revisions()[path(container)] == before


def _churn(engine: Engine, over: threading.Event) -> None:
    """Start and remove containers until it is over."""
    while not over.is_set():
        try:
            engine.run(labels=labels()).remove(force=True)
        except Exception:  # noqa: BLE001
            over.wait(0.1)  # the engine hangs


def test_changes_during_an_etcd_outage_are_published_after_it(
    node: DockerNode, engine: Engine, published: Published, container: Container
) -> None:
    with node:
        gone, stopped = engine.run(labels=labels()), engine.run(labels=labels())
        wait_until(lambda: len(published.keys()) == 3)
        published.cluster.kill()
        node.wait_for_log("published keys expire within")
        gone.remove(force=True)
        stopped.stop(timeout=0)
        new = engine.run(labels=labels())
        published.cluster.start()
        wait_until(lambda: published.keys().keys() == {path(one) for one in (container, stopped, new)}, 20)
        assert [published.weight(one) for one in (container, stopped, new)] == [10, 0, 10]


def test_keys_outlive_a_crashed_or_stopped_node_by_the_ttl(
    node: DockerNode, published: Published, container: Container
) -> None:
    other = {"services/test/backends/other": {"ipv4": "10.0.0.9", "tcp": 80}}
    published.put("services/test/backends/other", other["services/test/backends/other"])
    for end in (node.crash, node.stop):
        node.start()
        published.wait_for(container, 10)
        ended = time.monotonic()
        end()
        assert published.weight(container) == 10
        wait_until(lambda: published.keys() == other, TTL + 3)
        assert time.monotonic() - ended > TTL / 2


def test_restart_within_the_ttl_writes_nothing(
    lasting_node: DockerNode, engine: Engine, published: Published, container: Container
) -> None:
    stopping = engine.run(GRACEFUL, labels=labels(), environment={"GRACE": "60"})
    ended = engine.run(labels=labels())
    with lasting_node:
        wait_until(lambda: len(published.keys()) == 3)
        assert engine.fetch(engine.address(stopping))
        stopping.kill("SIGTERM")
        ended.stop(timeout=0)
        published.wait_for(stopping, 0)
        published.wait_for(ended, 0)
        before = published.revisions()
    for end in (lasting_node.stop, lasting_node.crash):
        lasting_node.start()
        lasting_node.wait_for_log(r"connected \(API version")
        marker = engine.run(labels=labels())  # shows that the earlier events have been processed
        published.wait_for(marker, 10)
        marker.remove(force=True)
        published.wait_for(marker, None)
        assert published.revisions() == before
        end()


def test_changes_while_the_node_was_down_are_published_at_its_start(
    lasting_node: DockerNode, engine: Engine, published: Published, container: Container
) -> None:
    stopping = engine.run(GRACEFUL, labels=labels(), environment={"GRACE": "60"})
    gone = engine.run(labels=labels())
    with lasting_node:
        wait_until(lambda: len(published.keys()) == 3)
        assert engine.fetch(engine.address(stopping))
        before = published.revisions()
    stopping.kill("SIGTERM")  # it keeps running for its grace period
    gone.remove(force=True)
    with lasting_node:
        published.wait_for(stopping, 0)
        published.wait_for(gone, None)
        assert published.revisions()[path(container)] == before[path(container)]


def test_killed_process_is_restarted_and_keeps_its_keys(
    lasting_node: DockerNode, engine: Engine, published: Published, container: Container
) -> None:
    with lasting_node:
        published.wait_for(container, 10)
        before = published.revisions()
        lasting_node.kill("docker")
        lasting_node.wait_for_log(r"connected \(API version", count=2)
        container.pause()
        published.wait_for(container, 0)
        container.unpause()
        published.wait_for(container, 10)
        assert published.revisions()[path(container)].created == before[path(container)].created


def test_exit_flush_removes_all_keys_at_a_stop_and_none_at_a_crash(
    tmp_path: Path, engine: Engine, published: Published, container: Container
) -> None:
    node = DockerNode(tmp_path, engine.url, published, "--exit-flush", *LASTING)
    node.start()
    published.wait_for(container, 10)
    before = published.revisions()
    node.crash()
    assert published.revisions() == before
    with node:
        node.wait_for_log(r"connected \(API version")
    assert published.keys() == {}


def test_hundred_containers_are_published_at_once_and_restarts_change_no_key(
    tmp_path: Path, other_engine: Engine, published: Published
) -> None:
    node = DockerNode(tmp_path / "node", other_engine.url, published, *LASTING)
    with ThreadPoolExecutor(8) as pool:
        containers = list(pool.map(lambda _: other_engine.run(WEB, "sleep", "1000", labels=labels()), range(100)))
    with node.explained(), node:
        wait_until(lambda: len(published.keys()) == 100, 30)
        before = published.revisions()
        assert len(set(before.values())) <= 5, "in few transactions"
        for one in containers[:10]:
            one.kill()
        wait_until(lambda: [published.weight(one) for one in containers[:11]] == [0] * 10 + [10])
        after = published.revisions()
        assert {one for one in after if after[one] != before[one]} == {path(one) for one in containers[:10]}
        node.send(signal.SIGHUP)
        node.wait_for_log("reloading")
        containers[11].kill()
        published.wait_for(containers[11], 0)
        node.kill("docker")
        node.wait_for_log(r"connected \(API version", count=2)
        containers[12].kill()
        published.wait_for(containers[12], 0)
        now = published.revisions()
        assert {one for one in now if now[one] != after[one]} == {path(one) for one in containers[11:13]}


def test_crash_of_one_host_removes_only_its_backends_of_a_shared_service(
    tmp_path: Path,
    node: DockerNode,
    other_engine: Engine,
    published: Published,
    container: Container,
) -> None:
    there = other_engine.run(labels=labels())
    second = DockerNode(tmp_path / "other", other_engine.url, published)
    with node:
        second.start()
        wait_until(lambda: published.keys().keys() == {path(container), path(there)})
        before = published.revisions()[path(container)]
        second.crash()
        published.wait_for(there, None)
        assert published.revisions()[path(container)] == before
