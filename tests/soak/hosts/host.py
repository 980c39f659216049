"""A Docker host: a real engine on the switch, its node, and what is done to its containers."""

import contextlib
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Self

from docker.errors import APIError
from docker.models.containers import Container
from docker.types import IPAMConfig, IPAMPool

from tests.lab.docker import Engine
from tests.lab.images import GRACEFUL, WEB
from tests.soak.history import Recorder
from tests.soak.hosts.network import Switch, host_address, subnet
from tests.soak.hosts.truth import ENDED, GONE, PAUSED, RUNNING, Backend, Truth
from tests.soak.node import Node
from tests.system.support.docker_node import labels

__all__ = ["HOG", "MOST", "NETWORK", "TTL", "Host"]

TTL = 6  # seconds, of the node's lease
NETWORK = "front"
MOST = 6  # containers of a host
MEMORY = "24m"  # of a container
HOG = ["sh", "-c", "tail /dev/zero"]  # a process beside the main one, which the kernel kills for its memory


class Host:
    """Everything on one host; `lock` is held by whoever talks to the engine, or has it fail."""

    def __init__(self, number: int, folder: Path, switch: Switch, recorder: Recorder, truth: Truth, url: str) -> None:
        self.number = number
        self.lock = threading.RLock()
        self.engine = Engine(folder / "engine", live_restore=True)
        self._switch = switch
        self._recorder = recorder
        self._truth = truth
        self._containers: dict[Backend, Container] = {}
        self._stack = contextlib.ExitStack()
        flags = ["--role", "docker", "--config-source", url, "--docker-endpoint", self.engine.url]
        flags += ["--etcd-ttl", str(TTL), "--node-name", f"host{number}", "--docker-network", NETWORK]
        flags += ["--route-network", NETWORK, "--route-ipvs-method", "masq", "--resync-interval", "10"]
        self.node = Node(recorder, flags, folder / "state", folder / "run")

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            stack.enter_context(self.engine)
            self._switch.connect(self.engine, self.number)
            pool = IPAMPool(subnet=subnet(self.number))
            self.engine.client.networks.create(NETWORK, ipam=IPAMConfig(pool_configs=[pool]))
            with self.engine.network():
                stack.enter_context(self.node)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def address(self) -> str:
        """Its own address on the switch."""
        return host_address(self.number)

    def act(self, rng: Random, service: str) -> str:
        """Do something to one container, or start another one, for that service."""
        with self.lock:
            able = [backend for backend, state in self._truth.present().items() if backend in self._containers]
            if len(able) < MOST // 2 or (len(able) < MOST and rng.random() < 0.4):
                return self._run(rng, service)
            backend = rng.choice(sorted(able, key=lambda one: one.id))
            running = self._truth.present()[backend] == RUNNING
            act = rng.choice(_OF_RUNNING if running else _OF_ENDED)
            try:
                act(self, backend, self._containers[backend])
            except APIError:
                # on a busy machine the engine may fail to pause one, or to start it: nobody knows its state then
                self._remove(backend, self._containers[backend])
            return act.__name__.strip("_")

    def _run(self, rng: Random, service: str) -> str:
        begin = time.monotonic()
        container = self.engine.run(
            rng.choice([WEB, GRACEFUL]),
            labels=labels(service),
            network=NETWORK,
            mem_limit=MEMORY,
            memswap_limit=MEMORY,
            environment={"GRACE": "1"},
        )
        backend = Backend(container.id, service, self.engine.address(container, NETWORK))
        self._containers[backend] = container
        self._note(backend, begin, RUNNING)
        return "run"

    def _note(self, backend: Backend, begin: float, state: str) -> None:
        self._truth.note(backend, begin, state)
        self._recorder.action(begin, "container", f"{backend.service} {backend.address} {backend.id[:12]}", state)

    def _stop(self, backend: Backend, container: Container) -> None:
        begin = time.monotonic()
        container.stop(timeout=2)
        self._note(backend, begin, ENDED)

    def _kill(self, backend: Backend, container: Container) -> None:
        begin = time.monotonic()
        container.kill()
        self._note(backend, begin, ENDED)

    def _remove(self, backend: Backend, container: Container) -> None:
        begin = time.monotonic()
        container.remove(force=True)
        del self._containers[backend]
        self._note(backend, begin, GONE)

    def _restart(self, backend: Backend, container: Container) -> None:
        """Restart it; it may have another address then, which makes it another backend."""
        begin = time.monotonic()
        container.stop(timeout=1)
        self._note(backend, begin, ENDED)
        self._start(backend, container)

    def _start(self, backend: Backend, container: Container) -> None:
        begin = time.monotonic()
        container.start()
        again = Backend(backend.id, backend.service, self.engine.address(container, NETWORK))
        if again != backend:
            del self._containers[backend]
            self._note(backend, begin, GONE)
            self._containers[again] = container
        self._note(again, begin, RUNNING)

    def _pause(self, backend: Backend, container: Container) -> None:
        begin = time.monotonic()
        container.pause()
        self._note(backend, begin, PAUSED)
        time.sleep(1.5)
        begin = time.monotonic()
        container.unpause()
        self._note(backend, begin, RUNNING)

    def _hang_up(self, backend: Backend, container: Container) -> None:
        """Send it a signal that does not end it."""
        begin = time.monotonic()
        container.kill(signal="HUP")
        self._recorder.action(begin, "container", f"{backend.service} {backend.address} {backend.id[:12]}", "hung up")

    def _starve(self, backend: Backend, container: Container) -> None:
        """Have the kernel kill a process of it, for its memory, that is not the main one: it goes on."""
        begin = time.monotonic()
        container.exec_run(HOG)
        container.reload()
        assert container.status == "running", f"{container.id[:12]} is {container.status} after the kill of another"
        self._recorder.action(begin, "container", f"{backend.service} {backend.address} {backend.id[:12]}", "oom")

    def lose_state(self, other: "Host | None" = None) -> None:
        """Have the node start without its state, or with a copy of that of another host."""
        with self.node.stopped():
            shutil.rmtree(self.node.state, ignore_errors=True)
            if other is not None:
                with contextlib.suppress(FileNotFoundError, shutil.Error):
                    shutil.copytree(other.node.state, self.node.state)


_Act = Callable[[Host, Backend, Container], None]
_OF_RUNNING: list[_Act] = [
    *(Host._stop, Host._kill, Host._remove, Host._restart),
    *(Host._pause, Host._hang_up, Host._starve),
]
_OF_ENDED: list[_Act] = [Host._start, Host._remove]
