"""What the inputs of a target reach: the outcomes, and the lines of its modules that none of them comes to."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from itertools import groupby
from operator import itemgetter
from pathlib import Path

from tests.fuzz.coverage import Coverage, lines_of
from tests.fuzz.engine import seeds
from tests.fuzz.target import Target

__all__ = ["keep", "report"]


def report(target: Target, name: str, folders: Sequence[Path]) -> None:
    """Print how often each outcome comes, and for each module how much is reached."""
    coverage, outcomes = Coverage(target.modules), Counter[str]()
    inputs = seeds(folders)
    with coverage.measured():
        for data in inputs:
            outcomes[target.check(data)] += 1
    print(f"{name}: {len(inputs)} inputs")
    for outcome, count in outcomes.most_common():
        print(f"  {count:6} {outcome}")
    for module in target.modules:
        there = lines_of(module)
        missed = sorted(line for _, line in there - coverage.lines)
        reached = 100 * (1 - len(missed) / max(1, len(there)))
        print(f"  {reached:5.0f} % of the lines of {module}{': not ' if missed else ''}{_ranges(missed)}")


def keep(target: Target, grown: Path, corpus: Path) -> None:
    """Copy inputs to the corpus that come to lines, or to an outcome, that none there does; short ones first."""
    coverage, outcomes = Coverage(target.modules), set[str]()
    inputs = [*seeds([corpus]), *sorted(seeds([grown]), key=len)]
    for data in inputs:
        known = len(coverage.lines), len(outcomes)
        with coverage.measured():
            outcomes.add(target.check(data))
        path = corpus / f"grown-{hashlib.sha1(data).hexdigest()[:12]}"
        if (len(coverage.lines), len(outcomes)) != known and data not in seeds([corpus]):
            path.write_bytes(data)
            print(path)


def _ranges(numbers: Sequence[int]) -> str:
    runs = []
    for _, group in groupby(enumerate(numbers), lambda pair: pair[1] - pair[0]):
        run = list(map(itemgetter(1), group))
        runs.append(f"{run[0]}-{run[-1]}" if len(run) > 1 else f"{run[0]}")
    return ", ".join(runs)
