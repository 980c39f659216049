"""Fuzzing with atheris, which is libFuzzer for Python: one target in a process of its own."""

import os
import sys
from random import Random

import atheris

from tests.fuzz.engine import HANG, parse_arguments

with atheris.instrument_imports(include=["clusterf", "actors"]):
    from tests.fuzz.mutants import applied
    from tests.fuzz.targets import TARGETS

MEMORY = 2048  # megabytes that the process may take


def main() -> None:
    """Fuzz a target for some seconds; write an input that fails to the folder, and exit with another status than 0."""
    arguments = parse_arguments(sys.argv[1:])
    target = TARGETS[arguments.target]
    grown = arguments.folder / "corpus"
    grown.mkdir(exist_ok=True)

    def mutate(data: bytes, largest: int, seed: int) -> bytes:
        rng = Random(seed)
        if rng.random() < 0.2:
            return bytes(atheris.Mutate(data, largest))
        for _ in range(rng.choice((1, 1, 2, 4))):
            data = target.mutate(data, rng)
        return data[:largest]

    current = os.open(arguments.folder / "current", os.O_RDWR | os.O_CREAT | os.O_TRUNC)

    def check(data: bytes) -> None:
        # kept for an end at which nobody writes it: a crash, or a timer of libFuzzer's that is not caught
        os.ftruncate(current, os.pwrite(current, data, 0))
        target.check(data)

    options = {
        "max_total_time": int(arguments.seconds),
        "seed": arguments.seed or Random().randrange(1, 1 << 31),
        "artifact_prefix": f"{arguments.folder}/",
        "timeout": HANG,
        "rss_limit_mb": MEMORY,
        "max_len": target.largest,
        "verbosity": 0,
        "print_final_stats": 1,
    }
    settings = [f"-{name}={value}" for name, value in options.items()]
    with applied(arguments.mutant):
        atheris.Setup([sys.argv[0], *settings, str(grown), *map(str, arguments.corpora)], check, custom_mutator=mutate)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
