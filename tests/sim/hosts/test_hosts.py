"""Docker hosts in simulated worlds: seeds that are always run."""

import pytest

from tests.sim.main import story_of
from tests.sim.run import run
from tests.sim.script import script_of


def check(seed):
    result = run(script_of(seed, "docker"))
    assert not result.violations, f"make sim SOURCE=docker SEED={seed}\n{story_of(result)}"


@pytest.mark.parametrize("seed", range(1, 11))
def test_no_rule_is_broken(seed):
    check(seed)


def test_a_seed_decides_everything():
    results = [run(script_of(7, "docker"), verbose=True) for _ in range(2)]
    first, second = (
        [line.replace(str(r.world.tree.root.parent), "") for line in r.world.story.lines()] for r in results
    )
    assert first == second
