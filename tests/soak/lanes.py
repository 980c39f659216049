"""What goes on side by side in a soak, each in a lane of its own: edits, failing backends, and three kinds of faults.

A lane acts, pauses, and acts again. While a lane is held, it does nothing, and
what it did is over.
"""

import contextlib
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from random import Random
from typing import TypeVar

from tests.soak import edits, plan
from tests.soak.etcd_faults import ETCD_FAULTS
from tests.soak.process_faults import PROCESS_FAULTS
from tests.soak.servers import FAILURES, HEALTHY
from tests.soak.surrounding_faults import SURROUNDING_FAULTS
from tests.soak.tree_faults import TREE_FAULTS
from tests.soak.world import World

__all__ = ["Lane", "held", "lanes"]

T = TypeVar("T")
Act = Callable[[Random], str]
FAILING = 0.2  # the share of backends in the configuration that may fail at a time


class Lane:
    """Acts again and again, in a thread of its own, until it is closed; pauses in between, within those seconds."""

    def __init__(self, name: str, seed: int, act: Act, pauses: tuple[float, float]) -> None:
        self.name = name
        self.counts: Counter[str] = Counter()
        # why it has ended, when it should not
        self.failure = ""
        self.lock = threading.Lock()
        self._rng = Random(f"{seed} {name}")
        self._act = act
        self._pauses = pauses
        self._enough = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name)

    def start(self) -> None:
        """Act from now on."""
        self._thread.start()

    def close(self) -> None:
        """Stop acting."""
        self._enough.set()
        self._thread.join()

    def _run(self) -> None:
        try:
            while not self._enough.wait(self._rng.uniform(*self._pauses)):
                with self.lock:
                    if not self._enough.is_set():
                        self.counts[self._act(self._rng)] += 1
        except Exception:  # noqa: BLE001 -- main reports it, and the soak has failed
            self.failure = traceback.format_exc()


@contextlib.contextmanager
def held(each: list[Lane]) -> Iterator[None]:
    """Hold lanes, once what they do is done."""
    with contextlib.ExitStack() as stack:
        for lane in each:
            stack.enter_context(lane.lock)
        yield


def lanes(world: World, seed: int) -> list[Lane]:
    """Return all lanes of a soak."""
    return [
        Lane("edits", seed, lambda rng: _edit(rng, world), (0.2, 1.2)),
        Lane("health", seed, lambda rng: _fail(rng, world), (0.3, 1.5)),
        Lane("processes", seed, _faults(world, PROCESS_FAULTS, world), (1, 8)),
        Lane("etcd", seed, _faults(world, ETCD_FAULTS, world), (3, 10)),
        Lane("surroundings", seed, _faults(world, SURROUNDING_FAULTS, world), (1, 8)),
        Lane("tree", seed, _faults(world, TREE_FAULTS, world.tree), (1, 6)),
    ]


def _faults(world: World, table: Mapping[str, tuple[int, Callable[[Random, T], str]]], subject: T) -> Act:
    def act(rng: Random) -> str:
        kind = rng.choices(list(table), [often for often, _ in table.values()])[0]
        begin, text = time.monotonic(), "failed"
        try:
            text = table[kind][1](rng, subject)
        finally:
            world.recorder.action(begin, "fault", kind, text)
        return kind

    return act


def _edit(rng: Random, world: World) -> str:
    with world.etcd_lock:
        kind, edit = edits.next_edit(rng, world.objects)
        for step in edit.steps:
            world.write(step.objects, edit.text)
            time.sleep(step.pause)
    return kind


def _fail(rng: Random, world: World) -> str:
    """Have a backend fail, or one that fails be healthy again; each service keeps one that is healthy."""
    failing = [address for address, mode in world.modes.items() if mode != HEALTHY]
    pools = [[value["ipv4"] for value in service.backends.values()] for service in plan.services(world.whole)]
    used = {address for pool in pools for address in pool}
    if failing and (rng.random() < 0.5 or len(used & set(failing)) > FAILING * len(used)):
        world.order(rng.choice(failing), HEALTHY)
        return HEALTHY
    able = [pool for pool in pools if sum(world.modes[address] == HEALTHY for address in pool) > 1]
    if not able:
        return "none"
    mode = rng.choice(FAILURES)
    world.order(rng.choice([address for address in rng.choice(able) if world.modes[address] == HEALTHY]), mode)
    return mode
