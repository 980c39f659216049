"""A fuzzer for where atheris is not: mutates what reached new lines, until something that is promised does not hold.

Run as `python -m tests.fuzz.engine`, with the arguments that `tests.fuzz.main` gives to `tests.fuzz.libfuzzer`, too.
"""

import argparse
import hashlib
import signal
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from random import Random
from typing import NamedTuple

from tests.fuzz.coverage import Coverage
from tests.fuzz.target import Target

__all__ = ["HANG", "Arguments", "Found", "fuzz", "parse_arguments", "seeds", "watchdog"]

HANG = 10  # seconds after which an input has hung the target
_FRESH = 200  # of the newest inputs that reached something new, every other mutation takes one


class Arguments(NamedTuple):
    """What to fuzz, for how long, with which chance; a mutant to be found, if any."""

    target: str
    seconds: float
    seed: int
    folder: Path
    corpora: list[Path]
    mutant: str


class Found(NamedTuple):
    """An input with which something does not hold, and the exception that says so; and how many were tried."""

    data: bytes
    error: BaseException
    tried: int


class Hung(BaseException):
    """The target did not end; no `except Exception` of it may catch this."""


def parse_arguments(arguments: Sequence[str]) -> Arguments:
    """Return the arguments of a fuzzer's process."""
    parser = argparse.ArgumentParser()
    parser.add_argument("target")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, required=True, help="where what is found is written")
    parser.add_argument("--corpus", type=Path, action="append", default=[], dest="corpora")
    parser.add_argument("--mutant", default="")
    return Arguments(**vars(parser.parse_args(arguments)))


def seeds(folders: Iterable[Path]) -> list[bytes]:
    """Return the inputs in these folders, in a fixed order."""
    return [path.read_bytes() for folder in folders for path in sorted(folder.glob("*")) if path.is_file()]


@contextmanager
def watchdog(seconds: int = HANG) -> Iterator[None]:
    """Raise Hung in this, the main thread, unless the block ends in time."""

    def expire(*_: object) -> None:
        raise Hung(f"no end after {seconds} seconds")

    before = signal.signal(signal.SIGALRM, expire)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def fuzz(target: Target, inputs: Sequence[bytes], seconds: float, rng: Random, *, trace: bool = True) -> Found | None:
    """Return an input with which the target fails, None if none is found in time."""
    coverage = Coverage(target.modules)
    corpus = list(inputs) or [b""]
    known, tried, until = 0, 0, time.monotonic() + seconds
    waiting = list(corpus)
    while time.monotonic() < until:
        data = waiting.pop() if waiting else _mutated(target, corpus, rng)
        tried += 1
        try:
            with watchdog(), coverage.measured() if trace else nullcontext():
                target.check(data)
        except (Exception, Hung) as error:  # noqa: BLE001 - whatever it is, it is what is looked for
            return Found(data, error, tried)
        if len(coverage.steps) > known:
            known = len(coverage.steps)
            corpus.append(data)
    print(f"{tried} inputs, {len(corpus)} of them reached {known} steps", flush=True)
    return None


def _mutated(target: Target, corpus: Sequence[bytes], rng: Random) -> bytes:
    data = rng.choice(corpus[-_FRESH:] if rng.random() < 0.5 else corpus)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        data = target.mutate(data, rng)
    return data[: target.largest]


def main() -> int:
    """Fuzz a target; write what is found, and return 1 if anything is."""
    from tests.fuzz.mutants import applied
    from tests.fuzz.targets import TARGETS

    arguments = parse_arguments(sys.argv[1:])
    target = TARGETS[arguments.target]
    with applied(arguments.mutant):
        found = fuzz(target, seeds(arguments.corpora), arguments.seconds, Random(arguments.seed))
    if found is None:
        return 0
    print(f"found after {found.tried} inputs: {found.error!r:.300}", flush=True)
    (arguments.folder / f"crash-{hashlib.sha1(found.data).hexdigest()}").write_bytes(found.data)
    return 1


if __name__ == "__main__":
    sys.exit(main())
