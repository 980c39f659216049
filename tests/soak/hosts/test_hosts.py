"""A minute and a half of the soak of Docker hosts; `make soak` is the long form."""

from pathlib import Path
from random import SystemRandom

import pytest

from tests.lab.docker import missing
from tests.runner import guest_problem
from tests.soak.hosts.main import run

SECONDS = 90.0
SEEDS = 1 << 31


@pytest.mark.long
@pytest.mark.timeout(600)
def test_soak_of_docker_hosts_ends_without_a_violation(tmp_path: Path) -> None:
    if reason := missing() or guest_problem():
        pytest.skip(reason)
    soak = run(tmp_path, SystemRandom().randrange(SEEDS), SECONDS)
    print(soak.text())
    assert not soak.violations, soak.text()
    assert soak.evidence.truth.backends
    assert soak.evidence.changes
