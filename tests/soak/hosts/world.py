"""The world of the soak of Docker hosts: switch, etcd, hosts with engines, and the guest with the director."""

import contextlib
import subprocess
import sys
import threading
from itertools import count
from pathlib import Path
from typing import Self

import msgspec

from clusterf.etcd.client import Client
from clusterf.etcd.errors import EtcdError
from tests.lab.etcd import EtcdCluster
from tests.soak.history import Busy, Change, LogLine, Recorder, Sampling, Virtual
from tests.soak.hosts import guest
from tests.soak.hosts.host import Host
from tests.soak.hosts.keys import DEADLINE, PREFIX, KeySampler, backends
from tests.soak.hosts.network import ETCD, Switch, switch
from tests.soak.hosts.truth import RUNNING, Truth
from tests.waiting import wait_until

__all__ = ["SERVICES", "World", "virtual"]

ROOT = Path(__file__).resolve().parents[3]
SERVICES = {"blue": "10.107.1.1", "green": "10.107.1.2"}
CHECK = {"type": "http", "interval": 2, "fast_interval": 0.5, "timeout": 2, "fall": 3}
PORT = 80
BACKEND_PORT = 8080
WEIGHT = 10
OBEYED = 90.0  # seconds for an order, in the guest
BOOT = 120.0  # seconds for the guest to have a director
LIFE = 86400.0  # seconds of the guest, at most
MEMORY = "1G"  # of the guest


def virtual(service: str) -> Virtual:
    """Return the virtual server of a service."""
    return f"{SERVICES[service]}:{PORT}/tcp"


class World:
    """Everything, until the `with` ends."""

    def __init__(self, folder: Path, seed: int, hosts: int) -> None:
        self.folder = folder
        self.recorder = Recorder(seed)
        self.truth = Truth()
        # held by whoever has etcd fail
        self.etcd_lock = threading.RLock()
        self.shared = folder / "guest"
        self.hosts: list[Host] = []
        self._number = hosts
        self._orders = count()
        self._offset = 0.0
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            self._switch = stack.enter_context(switch())
            stack.enter_context(self._switch.here())
            self.etcd = stack.enter_context(EtcdCluster(self.folder / "etcd", host=ETCD))
            self._configure()
            for number in range(self._number):
                host = Host(number, self.folder / f"host{number}", self._switch, *self._parts())
                self.hosts.append(stack.enter_context(host))
            self._boot(stack, self._switch)
            self.sampler = KeySampler(self.etcd)
            stack.callback(self.sampler.close)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _parts(self) -> tuple[Recorder, Truth, str]:
        return self.recorder, self.truth, self.etcd.url(PREFIX)

    def _configure(self) -> None:
        self.etcd.ctl("put", f"/{PREFIX}/health", msgspec.json.encode(CHECK).decode())
        for service, vip in SERVICES.items():
            value = {"ipv4": vip, "tcp": PORT, "scheduler": "wrr"}
            self.etcd.ctl("put", f"/{PREFIX}/services/{service}/frontend", msgspec.json.encode(value).decode())

    def _boot(self, stack: contextlib.ExitStack, net: Switch) -> None:
        """Start the guest, and wait until its director runs."""
        self.shared.mkdir()
        lab = [sys.executable, "tests/lab/run", "--timeout", str(LIFE), "--memory", MEMORY, "--tap", net.tap]
        command = [sys.executable, "-m", "tests.soak.hosts.guest", str(self.shared), self.etcd.url(PREFIX)]
        with (self.folder / "guest.log").open("wb") as out:
            self._guest = subprocess.Popen(
                [*lab, "--rw", str(self.shared), "--", *command, str(self._number)], cwd=ROOT, stdout=out, stderr=out
            )
        stack.callback(self._end_guest)
        for name in (f"{guest.DONE}{guest.RESTART}", guest.OBSERVED, guest.LOG):
            self._wait_for_guest(name, BOOT)
        self._offset = float((self.shared / guest.CLOCK).read_text()) - guest.offset()

    def _wait_for_guest(self, name: str, seconds: float) -> None:
        def found() -> bool:
            assert self._guest.poll() is None, (self.folder / "guest.log").read_text()[-3000:]
            return (self.shared / name).exists()

        wait_until(found, seconds)

    def order(self, text: str) -> None:
        """Have the guest do something, and wait until it is done."""
        number = next(self._orders)
        draft = self.shared / "draft"
        draft.write_text(text)
        draft.rename(self.shared / f"order{number}")
        if text == guest.END:
            self._guest.wait(OBEYED)
        else:
            self._wait_for_guest(f"{guest.DONE}{number}", OBEYED)

    def _end_guest(self) -> None:
        self._guest.terminate()
        self._guest.wait()

    def log(self) -> list[LogLine]:
        """Return what the director has logged so far."""
        raw = (self.shared / guest.LOG).read_bytes().splitlines(keepends=True)
        lines = [msgspec.json.decode(line, type=LogLine) for line in raw if line.endswith(b"\n")]
        return [LogLine(line.time + self._offset, f"director: {line.text}") for line in lines]

    def observed(self) -> list[Change | Busy | Sampling]:
        """Return what was seen of the director's table so far."""
        raw = (self.shared / guest.OBSERVED).read_bytes()
        found = [
            msgspec.json.decode(line, type=Change | Busy | Sampling)
            for line in raw[: raw.rfind(b"\n") + 1].splitlines()
        ]
        return [self._here(one) for one in found]

    def _here(self, one: Change | Busy | Sampling) -> Change | Busy | Sampling:
        """Return it with the times of this machine's clock."""
        end = one.end + self._offset
        if isinstance(one, Sampling):
            return msgspec.structs.replace(one, end=end)
        return msgspec.structs.replace(one, begin=one.begin + self._offset, end=end)

    def difference(self) -> str:
        """Return how the keys and the table differ from what they have to be now, empty if they do not."""
        present = self.truth.present()
        expected = {backend.path: WEIGHT if state == RUNNING else 0 for backend, state in present.items()}
        try:
            with Client(self.etcd.location(PREFIX), self.etcd.endpoints[0], DEADLINE) as client:
                actual = backends(client)
        except EtcdError as error:
            return f"etcd: {error}"
        # (of one that has ended nobody knows the address, if the state of its node was lost: it has no key)
        expected = {path: weight for path, weight in expected.items() if weight or path in actual}
        if actual != expected:
            return f"keys: {_differences(actual, expected)}"
        found = self.table()
        wanted: dict[str, dict[str, int]] = {service: {} for service in SERVICES}
        for backend, state in present.items():
            real, reals = f"{backend.address}:{BACKEND_PORT}", wanted[backend.service]
            if state == RUNNING:
                reals[real] = WEIGHT
            elif real in found[backend.service]:
                reals.setdefault(real, 0)
        return next((f"{s}: {_differences(found[s], wanted[s])}" for s in SERVICES if found[s] != wanted[s]), "")

    def table(self) -> dict[str, dict[str, int]]:
        """Return the weights of the real servers of each service, as seen last."""
        last = {one.virtual: one.reals for one in self.observed() if isinstance(one, Change)}
        found = {service: last.get(virtual(service), {}) for service in SERVICES}
        return {name: {real: one.weight for real, one in reals.items()} for name, reals in found.items()}


def _differences(actual: dict[str, int], expected: dict[str, int]) -> str:
    wrong = sorted(name for name in actual.keys() | expected.keys() if actual.get(name) != expected.get(name))
    return "; ".join(f"{name}: {actual.get(name)} instead of {expected.get(name)}" for name in wrong[:5])
