"""Containers of a real engine that are signalled, or have a process killed, and go on; and a disk that hangs."""

import sqlite3
import time
from pathlib import Path

from docker.models.containers import Container

from tests.lab.docker import Engine
from tests.lab.images import GRACEFUL, WEB
from tests.system.support.disk import Disk
from tests.system.support.docker_node import LASTING, DockerNode, Published, labels
from tests.waiting import wait_until

AT_ONCE = 1.0  # seconds, for what takes a few hundredths
OOM = 3.0  # seconds after which a process that was killed for its memory no longer counts
EVENTS = 300  # more than an engine keeps
HOG = ["sh", "-c", "tail /dev/zero"]
IGNORING = [
    "sh",
    "-c",
    "trap '' TERM; exec serve 8080",
]  # what is ignored stays so for `serve`, whose trap has no effect


def weights(published: Published, container: Container, seconds: float) -> set[int | None]:
    """Return the weights that a container has within that time."""
    end, seen = time.monotonic() + seconds, set()
    while time.monotonic() < end:
        seen.add(published.weight(container))
        time.sleep(0.02)
    return seen


def ignoring(engine: Engine, stop_timeout: int) -> Container:
    """Start a container that ignores SIGTERM."""
    api = engine.client.api
    created = api.create_container(WEB, IGNORING, labels=labels(), stop_timeout=stop_timeout)
    container = engine.client.containers.get(created["Id"])
    container.start()
    return container


def test_process_killed_for_its_memory_counts_for_a_moment_if_it_is_not_the_main_one(
    node: DockerNode, engine: Engine, published: Published
) -> None:
    container = engine.run(labels=labels(), mem_limit="24m", memswap_limit="24m")
    with node:
        published.wait_for(container, 10)
        assert container.exec_run(HOG).exit_code == 137
        published.wait_for(container, 0, AT_ONCE)
        published.wait_for(container, 10, OOM)
        assert weights(published, container, 1) == {10}


def test_ignored_stop_signal_no_longer_counts_when_the_engine_should_have_killed(
    node: DockerNode, engine: Engine, published: Published
) -> None:
    container = ignoring(engine, 1)
    with node:
        published.wait_for(container, 10)
        begin = time.monotonic()
        container.kill(signal="TERM")
        published.wait_for(container, 0, AT_ONCE)
        published.wait_for(container, 10, 5)
        assert time.monotonic() - begin > 2
        node.wait_for_log("goes on although it was signalled to stop: it has its weight again")
        container.kill(signal="TERM")
        published.wait_for(container, 0, AT_ONCE)
        container.stop(timeout=0)
        assert weights(published, container, 4) == {0}


def test_ignored_stop_signal_counts_no_more_after_a_restart_of_the_node(
    lasting_node: DockerNode, engine: Engine, published: Published
) -> None:
    container = ignoring(engine, 1)
    with lasting_node:
        published.wait_for(container, 10)
        container.kill(signal="TERM")
        published.wait_for(container, 0, AT_ONCE)
        published.wait_for(container, 10, 5)
    with lasting_node:
        lasting_node.wait_for_log(r"connected \(API version")
        assert weights(published, container, 2) == {10}


def test_container_that_takes_its_time_to_stop_has_no_weight_across_a_restart_of_the_node(
    lasting_node: DockerNode, engine: Engine, published: Published
) -> None:
    container = engine.run(GRACEFUL, labels=labels(), environment={"GRACE": "6"})
    with lasting_node:
        published.wait_for(container, 10)
        container.kill(signal="TERM")
        published.wait_for(container, 0, AT_ONCE)
    with lasting_node:
        lasting_node.wait_for_log(r"connected \(API version")
        assert weights(published, container, 2) == {0}


def test_disk_that_hangs_does_not_delay_weight_0(
    lasting_node: DockerNode, engine: Engine, published: Published
) -> None:
    one, two = (engine.run(GRACEFUL, labels=labels(), environment={"GRACE": "30"}) for _ in range(2))
    with lasting_node:
        published.wait_for(one, 10)
        published.wait_for(two, 10)
        wait_until((lasting_node.state / "docker.db").exists)
        with sqlite3.connect(lasting_node.state / "docker.db", isolation_level=None) as other:
            other.execute("BEGIN IMMEDIATE")  # whoever writes waits for 10 seconds
            for container in (one, two):
                container.kill(signal="TERM")
                published.wait_for(container, 0, AT_ONCE)
            other.execute("ROLLBACK")
        other.close()
    with lasting_node:
        lasting_node.wait_for_log(r"connected \(API version")
        assert weights(published, one, 1) == {0}


def test_stop_that_could_not_be_recorded_on_a_full_disk_is_when_it_has_space_again(
    tmp_path: Path, engine: Engine, published: Published
) -> None:
    container = engine.run(GRACEFUL, labels=labels(), environment={"GRACE": "60"})
    another = engine.run()
    with Disk(tmp_path / "disk") as disk:
        state = ["--state-dir", str(disk.folder / "state")]
        node = DockerNode(tmp_path / "node", engine.url, published, *LASTING, *state)
        with node.explained():
            with node:
                published.wait_for(container, 10)
                disk.fill()
                container.kill(signal="TERM")
                published.wait_for(container, 0, AT_ONCE)
                node.wait_for_log("docker.db: cannot be written, retrying")
                for number in range(EVENTS):
                    another.rename(f"renamed-{number}")
                disk.free()
                node.wait_for_log("docker.db: written again, nothing is missing")
            with node:
                node.wait_for_log(r"connected \(API version")
                assert weights(published, container, 2) == {0}
