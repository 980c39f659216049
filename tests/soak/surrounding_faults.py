"""Faults around the node: its disk, its directories, the clock, and the hands of others in the kernel's table."""

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from random import Random

from tests.soak.history import as_text
from tests.soak.observer import states
from tests.soak.world import World

__all__ = ["SURROUNDING_FAULTS"]

Fault = Callable[[Random, World], str]
YEAR = 365.25 * 86400


def full(rng: Random, world: World) -> str:
    """Fill the disk of the state directory for a while."""
    seconds = round(rng.uniform(1, 8), 1)
    filler = world.disk / "filler"
    with filler.open("wb", buffering=0) as out, contextlib.suppress(OSError):
        for size in (1 << 16, 1 << 8, 1):
            with contextlib.suppress(OSError):
                while out.write(b"\0" * size):
                    pass
    time.sleep(seconds)
    filler.unlink()
    return f"for {seconds} s"


def read_only(rng: Random, world: World) -> str:
    """Start the node while its state directory is read-only; later it is not."""
    seconds = round(rng.uniform(2, 6), 1)

    def remount(how: str) -> bool:
        done = subprocess.run(["mount", "-o", f"remount,{how}", world.disk], check=False, stderr=subprocess.DEVNULL)
        return not done.returncode

    with world.node.stopped():
        assert remount("ro"), "the disk is in use while the node is stopped"
    time.sleep(seconds)
    remount("rw")
    return f"for {seconds} s"


def renamed(rng: Random, world: World) -> str:
    """Rename the state directory while the node runs; later it is back, unless there is a new one."""
    seconds = round(rng.uniform(1, 8), 1)
    state, away = world.node.state, world.node.state.with_name("away")
    shutil.rmtree(away, ignore_errors=True)
    with contextlib.suppress(FileNotFoundError):
        state.rename(away)
    time.sleep(seconds)
    if not state.exists() and away.exists():
        away.rename(state)
        return f"for {seconds} s"
    return f"for good, a new one was there within {seconds} s"


def lost(_: Random, world: World) -> str:
    """Remove the state directory while the node runs."""
    shutil.rmtree(world.node.state, ignore_errors=True)
    return ""


def runtime_removed(_: Random, world: World) -> str:
    """Remove the runtime directory while the node runs."""
    shutil.rmtree(world.node.runtime, ignore_errors=True)
    return ""


def clock(rng: Random, world: World) -> str:
    """Step the clock of the guest, and back; never that of a machine that is in use."""
    if "CLUSTERF_LAB_GUEST" not in os.environ:
        return "not in this kernel"
    name = rng.choice(["1970", "2099", "+1 h", "-1 h", "-0.5 s"])
    seconds = round(rng.uniform(0.5, 4), 1)
    offset = time.time() - time.monotonic()
    offsets = {"+1 h": 3600.0, "-1 h": -3600.0, "-0.5 s": -0.5}
    # The kernel refuses a time of day before its boot at 1970 (settimeofday64: EINVAL), so it comes after its uptime.
    target = {"1970": time.monotonic() + 1000, "2099": 129 * YEAR}.get(name) or time.time() + offsets[name]
    time.clock_settime(time.CLOCK_REALTIME, target)
    time.sleep(seconds)
    time.clock_settime(time.CLOCK_REALTIME, time.monotonic() + offset)
    return f"{name} for {seconds} s"


def hand(rng: Random, world: World) -> str:
    """Change one of our virtual servers by hand."""
    table = states(world.kernel.read())
    ours = sorted(name for name, (_, reals) in table.items() if name not in world.foreign and reals)
    if not ours:
        return "nothing is there"
    name = rng.choice(ours)
    virtual = f"-t {name.removesuffix('/tcp')}"
    real = rng.choice(sorted(table[name][1]))
    number = int(name.split(".")[3].split(":")[0])
    command = rng.choice(
        [
            f"-e {virtual} -r {real} -m -w {rng.choice([0, 3, 77])}",
            f"-d {virtual} -r {real}",
            f"-D {virtual}",
            f"-a {virtual} -r 10.9.9.{number}:80 -m -w 0",
            f"-E {virtual} -s sh",
        ]
    )
    begin = time.monotonic()
    done = subprocess.run(["ipvsadm", *command.split()], check=False, capture_output=True)
    world.recorder.action(begin, "hand", name, command if not done.returncode else f"refused: {command}")
    return command


def foreign(rng: Random, world: World) -> str:
    """Add, change or remove a virtual server that is not ours."""
    number = rng.randint(1, 5)
    name = f"10.200.0.{number}:8000/tcp"
    virtual = f"-t 10.200.0.{number}:8000"
    if name not in world.foreign:
        commands = [f"-A {virtual} -s rr", f"-a {virtual} -r 10.201.0.1:8000 -m -w {rng.randint(0, 9)}"]
    else:
        commands = [rng.choice([f"-D {virtual}", f"-e {virtual} -r 10.201.0.1:8000 -m -w {rng.randint(0, 9)}"])]
    begin = time.monotonic()
    for command in commands:
        subprocess.run(["ipvsadm", *command.split()], check=True)
    found = states(world.kernel.read()).get(name)
    text = as_text(*found) if found else ""
    world.recorder.action(begin, "foreign", name, text)
    if text:
        world.foreign[name] = text
    else:
        del world.foreign[name]
    return "; ".join(commands)


SURROUNDING_FAULTS: dict[str, tuple[int, Fault]] = {
    "disk full": (3, full),
    "state directory read-only at start": (1, read_only),
    "state directory renamed": (2, renamed),
    "state directory lost": (1, lost),
    "runtime directory removed": (2, runtime_removed),
    "clock stepped": (2, clock),
    "our table by hand": (3, hand),
    "table of others": (4, foreign),
}
"""Each fault with how often it comes."""
