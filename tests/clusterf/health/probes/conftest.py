from collections.abc import Iterator

import pytest

from clusterf.config.model import HealthCheck
from tests.clusterf.support.probe_checks import CHECKS
from tests.clusterf.support.probe_runner import ProbeRunner, probe_runner


@pytest.fixture
def runner() -> Iterator[ProbeRunner]:
    with probe_runner() as runner:
        yield runner


@pytest.fixture(params=CHECKS)
def check(request: pytest.FixtureRequest) -> HealthCheck:
    """A check of each kind of probe."""
    return CHECKS[request.param]
