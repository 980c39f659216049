"""`make fuzz`: give decoders bytes that nobody thought of, and see whether what is promised of them holds."""

import argparse
import importlib.util
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from random import SystemRandom

__all__ = ["CORPUS", "ROOT", "main", "run"]

ROOT = Path(__file__).parents[2]
CORPUS = Path(__file__).parent / "corpus"
FOUND = ROOT / ".run" / "fuzz"  # a folder a target: what was found, and the inputs that reached something new


def run(name: str, seconds: float, seed: int, folder: Path, mutant: str = "") -> list[Path]:
    """Fuzz a target in a process of its own; return the files with inputs that fail."""
    folder.mkdir(parents=True, exist_ok=True)
    before = set(_failing(folder))
    engine = "libfuzzer" if importlib.util.find_spec("atheris") else "engine"
    command = [sys.executable, "-m", f"tests.fuzz.{engine}", name, "--seconds", str(seconds), "--seed", str(seed)]
    command += ["--folder", str(folder), "--corpus", str(CORPUS / name), "--mutant", mutant]
    with (folder / "log").open("w") as log:
        # (an end that nobody expects is one, too: a crash of the interpreter, memory that ran out)
        done = subprocess.run(command, cwd=ROOT, stdout=log, stderr=log, check=False, timeout=seconds + 300)
    found = sorted(set(_failing(folder)) - before)
    current = folder / "current"
    if done.returncode and not found:
        if not current.exists():
            raise RuntimeError(f"{name}: the fuzzer ended with status {done.returncode}, see {folder / 'log'}")
        return [current.replace(folder / f"crash-{seed:x}")]
    current.unlink(missing_ok=True)
    return found


def _failing(folder: Path) -> list[Path]:
    return [path for kind in ("crash", "timeout", "oom", "leak") for path in folder.glob(f"{kind}-*")]


def main(arguments: Sequence[str]) -> int:
    """Fuzz the given targets one after the other; return 1 if anything is found."""
    from tests.fuzz.targets import TARGETS

    parser = argparse.ArgumentParser(prog="make fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"by default all: {', '.join(TARGETS)}")
    parser.add_argument("--seconds", type=float, default=60, help="for each target (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of chance; by default a new one, which is printed")
    parser.add_argument("--reach", action="store_true", help="do not fuzz: print what the inputs so far reach")
    parser.add_argument("--keep", action="store_true", help="do not fuzz: copy what reaches new lines to the corpus")
    given = parser.parse_args(arguments)
    names = given.targets or list(TARGETS)
    if unknown := [name for name in names if name not in TARGETS]:
        parser.error(f"no such target: {', '.join(unknown)}")
    if given.reach or given.keep:
        from tests.fuzz.reach import keep, report

        for name in names:
            if given.keep:
                keep(TARGETS[name], FOUND / name / "corpus", CORPUS / name)
            report(TARGETS[name], name, [CORPUS / name, FOUND / name / "corpus"])
        return 0
    seed = given.seed or SystemRandom().randrange(1, 1 << 31)
    status = 0
    for name in names:
        print(f"{name}: {given.seconds:g} seconds, seed {seed}", flush=True)
        for path in run(name, given.seconds, seed, FOUND / name):
            status = 1
            subprocess.run([sys.executable, "-m", "tests.fuzz.minimise", name, str(path)], cwd=ROOT, check=False)
            print(f"{name}: FAILED; once it is mended, put the small one into {CORPUS.relative_to(ROOT) / name}")
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
