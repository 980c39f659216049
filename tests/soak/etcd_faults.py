"""Faults of etcd and of what it holds: away, frozen, compacted, another one, wiped, garbage, leases ended.

The operator makes no edits while etcd is at fault, so what is configured is known.
"""

import time
from collections.abc import Callable
from dataclasses import replace
from random import Random

from clusterf.config.decode import decode
from clusterf.config.keys import parse_key
from clusterf.etcd.errors import EtcdError
from tests.lab.etcd import Member
from tests.soak.world import World

__all__ = ["ETCD_FAULTS"]

Fault = Callable[[Random, World], str]
GARBAGE = [b"", b"{", b"[]", b"\xff\xfe", b"null", b'{"weight": -1}', b'{"ipv4": "nowhere"}', b'{"tcp": 0}', b"{}" * 9]


def _member(world: World) -> Member:
    return world.etcd.members[0]


def kill(rng: Random, world: World) -> str:
    """Kill etcd, and start it again some time later."""
    seconds = round(rng.uniform(0.2, 4), 1)
    with world.etcd_lock:
        _member(world).kill()
        time.sleep(seconds)
        world.etcd.start()
    return f"for {seconds} s"


def freeze(rng: Random, world: World) -> str:
    """Freeze etcd with its connections open: a partition, for those who follow it."""
    seconds = round(rng.uniform(0.5, 12), 1)
    with world.etcd_lock:
        _member(world).freeze()
        time.sleep(seconds)
        _member(world).thaw()
        world.etcd.wait_for(_member(world))
    return f"for {seconds} s"


def compact(_: Random, world: World) -> str:
    """Compact the history, while those who follow it may be away."""
    with world.client() as client:
        revision = client.list().revision
        world.etcd.compact(revision)
    return f"at {revision}"


def revoke(rng: Random, world: World) -> str:
    """End the publisher's lease; it notices that later."""
    seconds = round(rng.uniform(0.2, 3), 1)
    with world.etcd_lock:
        begin = time.monotonic()
        published, world.publisher.objects = world.publisher.objects, {}
        world.configured(begin, "the publisher's lease ends")
        world.publisher.objects = published
        with world.client() as client:
            world.publisher.revoke(client)
            time.sleep(seconds)
            begin = time.monotonic()
            world.publisher.check()
            world.publisher.wait(client)
        world.configured(begin, "the publisher puts its keys back")
    return f"keys back after {seconds} s"


def garbage(rng: Random, world: World) -> str:
    """Have garbage in place of some values for a while."""
    seconds = round(rng.uniform(0.1, 3), 1)
    with world.etcd_lock:
        paths = rng.sample(sorted(world.objects), rng.randint(1, 10))
        world.put({path: rng.choice([value for value in GARBAGE if _is_bad(path, value)]) for path in paths})
        time.sleep(seconds)
        world.put({path: world.objects[path] for path in paths})
    return f"in {' '.join(paths)} for {seconds} s"


def _is_bad(path: str, value: bytes) -> bool:
    """Tell whether the value is none for this key; an object without known fields is one for some."""
    key = parse_key(path.encode())
    assert key is not None, path
    return decode("soak", path.encode(), key, value).value is None


def wipe(rng: Random, world: World) -> str:
    """Delete the operator's keys, and put them back; the removal must be held that long."""
    seconds = round(rng.uniform(0.3, 8), 1)
    with world.etcd_lock:
        world.put({}, list(world.objects))
        time.sleep(seconds)
        world.put(world.objects)
    return f"for {seconds} s"


def replaced(rng: Random, world: World) -> str:
    """Have another, empty etcd behind the same address for a while; removals must be held that long."""
    seconds = round(rng.uniform(1, 6), 1)
    with world.etcd_lock:
        own = _member(world)
        arguments = (*own.arguments, "--initial-cluster-token", f"other-{time.monotonic()}")
        other = replace(own, folder=own.folder.with_name("other"), arguments=arguments, process=None)
        own.kill()
        world.etcd.members[0] = other
        try:
            other.launch(wipe=True)
            world.etcd.wait_for(other)
            time.sleep(seconds)
        finally:
            other.kill()
            world.etcd.members[0] = own
            world.etcd.start()
    return f"for {seconds} s"


def flap(rng: Random, world: World) -> str:
    """Kill etcd again and again."""
    times = rng.randint(2, 4)
    for _ in range(times):
        with world.etcd_lock:
            _member(world).kill()
            time.sleep(rng.uniform(0.05, 0.5))
            world.etcd.start()
    return f"{times} times"


def watched(fault: Fault) -> Fault:
    """Have a fault be over when etcd answers again."""

    def act(rng: Random, world: World) -> str:
        text = fault(rng, world)
        while not answers(world):
            time.sleep(0.1)
        return text

    return act


def answers(world: World) -> bool:
    """Tell whether etcd answers."""
    try:
        with world.client() as client:
            client.list()
    except EtcdError:
        return False
    return True


ETCD_FAULTS: dict[str, tuple[int, Fault]] = {
    "etcd killed": (3, watched(kill)),
    "etcd frozen": (3, watched(freeze)),
    "etcd killed again and again": (1, watched(flap)),
    "etcd compacted": (3, compact),
    "lease revoked": (2, revoke),
    "garbage": (4, garbage),
    "wipe": (2, wipe),
    "another etcd": (2, watched(replaced)),
}
"""Each fault with how often it comes."""
