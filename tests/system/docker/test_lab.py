"""The lab's Docker engine: what it promises to the tests that use it."""

import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import docker
import pytest
import requests
from docker.models.containers import Container

from tests.lab.cgroups import remove_cgroup
from tests.lab.docker import Engine
from tests.lab.images import GRACEFUL, HEALTH, MULTI, WEB
from tests.processes import started
from tests.waiting import wait_until

LABELS = {"net.qmsk.clusterf.service": "web", "net.qmsk.clusterf.backend.tcp": "8080"}


def status(container: Container) -> str:
    container.reload()
    return str(container.status)


def health(container: Container) -> str:
    container.reload()
    return str(container.attrs["State"]["Health"]["Status"])


@contextmanager
def events(engine: Engine) -> Iterator[Iterator[dict[str, Any]]]:
    """Yield the events of containers from now on."""
    client = docker.APIClient(engine.url, timeout=10)
    # since a moment that is over, so that there is an answer at once
    stream = client.events(decode=True, since=0, filters={"type": "container"})
    try:
        yield stream
    finally:
        stream.close()
        client.close()


def test_labelled_container_answers_in_the_network_of_the_engine(engine: Engine) -> None:
    container = engine.run(name="web", labels=LABELS)
    assert container.attrs["Config"]["Labels"] == LABELS
    assert container.attrs["Config"]["ExposedPorts"] == {"8080/tcp": {}}
    assert engine.fetch(engine.address(container)) == container.id[:12]
    assert engine.fetch(engine.address(container), "/cgi-bin/slow?0.1") == container.id[:12]


def test_every_port_of_an_image_is_served(engine: Engine) -> None:
    container = engine.run(MULTI)
    assert sorted(container.attrs["Config"]["ExposedPorts"]) == ["5353/udp", "8080/tcp", "9090/tcp"]
    for port in (8080, 9090):
        assert engine.fetch(engine.address(container), port=port) == container.id[:12]


def test_image_is_made_from_lines_of_a_dockerfile(engine: Engine) -> None:
    engine.make_image("lab/own", 'CMD ["serve", "81"]', "EXPOSE 81/tcp", "LABEL net.qmsk.clusterf.service=own")
    container = engine.run("lab/own")
    assert container.attrs["Config"]["Labels"] == {"net.qmsk.clusterf.service": "own"}
    assert engine.fetch(engine.address(container), port=81) == container.id[:12]


def test_published_ports_and_ipv6_networks_work_without_a_firewall(engine: Engine) -> None:
    pool = docker.types.IPAMConfig(pool_configs=[docker.types.IPAMPool(subnet="fd00:1::/64")])
    engine.client.networks.create("six", enable_ipv6=True, ipam=pool)
    container = engine.run(network="six", ports={"8080/tcp": 18080})
    assert engine.fetch(engine.address(container, "six")) == container.id[:12]
    assert engine.fetch(engine.address(container, "six", ipv6=True)) == container.id[:12]
    assert engine.fetch("127.0.0.1", port=18080) == container.id[:12]


def test_health_follows_a_file(engine: Engine) -> None:
    container = engine.run(HEALTH)
    wait_until(lambda: health(container) == "unhealthy")
    container.exec_run(["touch", "/tmp/healthy"])
    wait_until(lambda: health(container) == "healthy")
    container.exec_run(["rm", "/tmp/healthy"])
    wait_until(lambda: health(container) == "unhealthy")


@pytest.mark.parametrize("name", ["SIGTERM", "SIGUSR2"])
def test_stopping_container_serves_until_its_grace_is_over(engine: Engine, name: str) -> None:
    container = engine.run(GRACEFUL, stop_signal=name)
    address, answers = engine.address(container), []
    assert engine.fetch(address)
    with events(engine) as stream:
        request = threading.Thread(target=lambda: answers.append(engine.fetch(address, "/cgi-bin/slow?1")))
        request.start()
        stopping = threading.Thread(target=container.stop, kwargs={"timeout": 20})
        stopping.start()
        kill = next(event for event in stream if event["Action"] == "kill" and event["id"] == container.id)
        assert int(kill["Actor"]["Attributes"]["signal"]) == signal.Signals[name]
        assert engine.fetch(address) == container.id[:12]
        request.join()
        stopping.join()
    assert answers == [container.id[:12]]
    assert status(container) == "exited"
    assert container.attrs["State"]["ExitCode"] == 0


def test_other_signals_do_not_stop_a_container(engine: Engine) -> None:
    container = engine.run()
    wait_until(lambda: engine.answers(engine.address(container)))
    for name in ("SIGHUP", "SIGUSR1"):
        container.kill(name)
    assert engine.fetch(engine.address(container)) == container.id[:12]
    container.stop(timeout=20)
    assert status(container) == "exited"
    assert container.attrs["State"]["ExitCode"] == 0


def test_without_live_restore_containers_end_with_the_engine(engine: Engine) -> None:
    container = engine.run()
    address = engine.address(container)
    assert engine.fetch(address)
    engine.stop()
    assert not engine.answers(address)
    engine.start()
    assert status(container) == "exited"
    container.start()
    assert engine.fetch(engine.address(container)) == container.id[:12]
    engine.kill()
    assert engine.answers(address)  # it has had no time to end them
    engine.start()
    assert status(container) == "exited"
    container.start()
    assert engine.fetch(engine.address(container)) == container.id[:12]


def test_with_live_restore_containers_outlive_the_engine(engine: Engine) -> None:
    engine.restart(live_restore=True)
    container = engine.run()
    address = engine.address(container)
    assert engine.fetch(address)
    for end in (engine.stop, engine.kill):
        end()
        assert engine.answers(address)
        engine.start()
        assert status(container) == "running"
        assert engine.fetch(engine.address(container)) == container.id[:12]


def test_frozen_engine_does_not_answer_and_its_containers_go_on(engine: Engine) -> None:
    container = engine.run()
    address = engine.address(container)
    client = docker.DockerClient(engine.url, timeout=0.5)
    engine.freeze()
    with pytest.raises(requests.ReadTimeout):
        client.ping()
    client.close()
    assert engine.fetch(address) == container.id[:12]
    engine.thaw()
    assert status(container) == "running"


def test_frozen_engine_can_be_killed_and_started(engine: Engine) -> None:
    engine.freeze()
    engine.kill()
    engine.start()
    assert engine.client.ping()


def test_clear_leaves_no_container_and_no_network(engine: Engine) -> None:
    engine.client.networks.create("front")
    engine.run(network="front")
    engine.run(WEB, "false")
    engine.clear()
    assert engine.client.containers.list(all=True) == []
    assert sorted(network.name for network in engine.client.networks.list()) == ["bridge", "host", "none"]


def changeable() -> tuple[list[str], str]:
    """Return what an engine on this machine itself would change: interfaces and mounts."""
    return sorted(name for _, name in socket.if_nameindex()), Path("/proc/self/mounts").read_text()


def test_engine_leaves_the_machine_as_it_was(tmp_path: Path, running_engine: Engine) -> None:
    before = changeable()
    with Engine(tmp_path) as engine:
        container = engine.run(ports={"8080/tcp": 18080})
        assert changeable() == before
        with engine.network():
            assert "docker0" in changeable()[0]
        assert changeable() == before
        processes = engine.processes
        assert len(processes) > 2
        assert container.id in " ".join(str(group) for group in engine.groups)
    assert not any(map(lives, processes))
    assert not engine.groups
    assert [path.name for path in tmp_path.iterdir()] == ["log"]


def lives(pid: int | str) -> bool:
    """Tell whether a process is there, and not only its exit status, which its parent may take long to ask for."""
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


SCRIPT = """
import sys
from pathlib import Path
from tests.lab.docker import Engine
with Engine(Path(sys.argv[1])) as engine:
    engine.run()
    print(engine.cgroup, *engine.processes, flush=True)
    sys.stdin.read()
"""


def test_engine_does_not_outlive_the_process_that_started_it(tmp_path: Path, running_engine: Engine) -> None:
    command = [sys.executable, "-c", SCRIPT, str(tmp_path)]
    with started(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        cgroup, *processes = process.stdout.readline().decode().split()
        assert len(processes) > 2
        process.kill()
        wait_until(lambda: not any(map(lives, processes)))
    remove_cgroup(cgroup)  # which is all that stays
