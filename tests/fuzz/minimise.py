"""Make an input smaller that fails, as long as it fails in the same way."""

import sys
import time
import traceback
from pathlib import Path

from tests.fuzz.engine import Hung, watchdog
from tests.fuzz.target import Target

__all__ = ["failure", "minimise"]

SECONDS = 30.0
_ROOT = str(Path(__file__).parents[2])


def failure(target: Target, data: bytes) -> tuple[str, str]:
    """Return how the target fails: the kind of exception and where it comes from, and all of it; empty: it does not."""
    try:
        with watchdog():
            target.check(data)
    except (Exception, Hung) as error:  # noqa: BLE001 - whatever it is, it is what is looked for
        ours = [f for f in traceback.extract_tb(error.__traceback__) if f.filename.startswith(_ROOT)]
        where = f"{Path(ours[-1].filename).relative_to(_ROOT)}:{ours[-1].lineno}" if ours else ""
        return f"{type(error).__name__} in {where}", "".join(traceback.format_exception(error))
    return "", ""


def minimise(target: Target, data: bytes, seconds: float = SECONDS) -> bytes:
    """Return a smaller input that fails as `data` does."""
    kind, _ = failure(target, data)
    until = time.monotonic() + seconds
    for joint in (b"\n%%\n", b"\n", b""):
        data = _without(target, kind, data, joint, until)
    return data


def _without(target: Target, kind: str, data: bytes, joint: bytes, until: float) -> bytes:
    """Leave out runs of pieces, which `joint` holds together, from long to short."""
    pieces = data.split(joint) if joint else [data[i : i + 1] for i in range(len(data))]
    length = len(pieces) // 2
    while length:
        at = 0
        while at < len(pieces) and time.monotonic() < until:
            fewer = pieces[:at] + pieces[at + length :]
            if failure(target, joint.join(fewer))[0] == kind:
                pieces = fewer
            else:
                at += length
        length //= 2
    return joint.join(pieces)


def main() -> int:
    """Print how an input fails, and write the smaller one beside it."""
    from tests.fuzz.mutants import applied
    from tests.fuzz.targets import TARGETS

    name, file, *mutant = sys.argv[1:]
    path = Path(file)
    with applied("".join(mutant)):
        kind, _ = failure(TARGETS[name], path.read_bytes())
        if not kind:
            print(f"{path} does not fail by itself: state of an earlier input, or the load of the machine")
            return 1
        small = minimise(TARGETS[name], path.read_bytes())
        print(failure(TARGETS[name], small)[1])
    path.with_name(f"small-{path.name}").write_bytes(small)
    print(f"{kind}: {len(small)} bytes: {small[:300]!r}")
    return 1


if __name__ == "__main__":
    sys.exit(main())
