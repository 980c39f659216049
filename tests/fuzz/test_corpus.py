"""The corpus of each fuzz target, as it is in the tree: what was found once, and what reaches deep states."""

from pathlib import Path
from random import Random

import pytest

from tests.fuzz.main import CORPUS
from tests.fuzz.mutants import MUTANTS
from tests.fuzz.seeds import seeds
from tests.fuzz.targets import TARGETS

INPUTS = [(path.parent.name, path) for path in sorted(CORPUS.glob("*/*"))]
MUTATIONS = 10  # of each input, by a fixed seed


@pytest.mark.parametrize(("target", "path"), INPUTS, ids=[f"{target}/{path.name}" for target, path in INPUTS])
def test_what_is_promised_of_a_decoder_holds(target: str, path: Path) -> None:
    assert TARGETS[target].check(path.read_bytes())


@pytest.mark.parametrize("target", TARGETS)
def test_it_holds_for_a_few_mutations_too(target: str) -> None:
    rng = Random(1)
    for path in sorted((CORPUS / target).glob("seed-*"))[:MUTATIONS]:
        data = path.read_bytes()
        for _ in range(MUTATIONS):
            data = TARGETS[target].mutate(data, rng)[: TARGETS[target].largest]
        TARGETS[target].check(data)


def test_each_target_has_inputs_and_a_mutant() -> None:
    assert {target for target, _ in INPUTS} == set(TARGETS)
    assert {mutant.target for mutant in MUTANTS.values()} == set(TARGETS)


def test_corpus_is_small_and_holds_the_seeds() -> None:
    assert sum(path.stat().st_size for _, path in INPUTS) < 1 << 20
    assert {(target, f"seed-{name}") for target, name, _ in seeds()} <= {(target, path.name) for target, path in INPUTS}
