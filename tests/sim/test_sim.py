"""Whole nodes in simulated worlds: seeds that are always run, and some that nobody has run before."""

import random

import pytest

from tests.sim.main import story_of
from tests.sim.run import run
from tests.sim.script import script_of

NEW = 5  # seeds that are chosen anew each time


def check(seed):
    result = run(script_of(seed, "etcd"))
    assert not result.violations, f"make sim SEED={seed}\n{story_of(result)}"


@pytest.mark.parametrize("seed", range(1, 31))
def test_no_rule_is_broken(seed):
    check(seed)


def test_no_rule_is_broken_by_new_seeds(capsys):
    first = random.SystemRandom().randrange(10**9)
    with capsys.disabled():
        print(f"\nsimulation: seeds {first} to {first + NEW - 1}")
    for seed in range(first, first + NEW):
        check(seed)


def test_a_seed_decides_everything():
    results = [run(script_of(7), verbose=True) for _ in range(2)]
    first, second = (
        [line.replace(str(r.world.tree.root.parent), "") for line in r.world.story.lines()] for r in results
    )
    assert first == second
