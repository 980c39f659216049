"""Two minutes of the soak; `make soak` is the long form."""

from pathlib import Path
from random import SystemRandom

import pytest

from tests.soak.main import run
from tests.system.support.netns import network_namespace

SECONDS = 120.0
SEEDS = 1 << 31


@pytest.mark.ipvs
@pytest.mark.timeout(900)
def test_soak_of_two_minutes_ends_without_a_violation(tmp_path: Path) -> None:
    with network_namespace():
        soak = run(tmp_path, SystemRandom().randrange(SEEDS), SECONDS)
    print(soak.summary())
    assert not soak.violations, soak.text()
    assert soak.history.answered > 500
    assert soak.history.sampling.samples > 1000
