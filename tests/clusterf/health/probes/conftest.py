from collections.abc import Iterator

import pytest

from clusterf.config.model import HealthCheck
from tests.clusterf.support.probe_checks import CHECKS
from tests.clusterf.support.probe_runner import ProbeRunner, probe_runner
from tests.servers import Authority


@pytest.fixture
def runner() -> Iterator[ProbeRunner]:
    with probe_runner() as runner:
        yield runner


@pytest.fixture(params=CHECKS)
def check(request: pytest.FixtureRequest) -> HealthCheck:
    """A check of each kind of probe."""
    return CHECKS[request.param]


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))
