"""Fixtures of the director process."""

import pytest

from actors.config.config_publisher import ConfigPublisher
from actors.director.backend_merger import BackendMerger
from actors.director.route_resolver import RouteResolver
from clusterf.director.virtual_servers import Defaults
from tests.actors.support.director import Director, sources
from tests.actors.support.fake_kernel import FakeKernel
from tests.actors.support.writing import Writing


@pytest.fixture
def path(tmp_path):
    return tmp_path / "config.sock"


@pytest.fixture
def chain(path, recorder_ref):
    """A config publisher whose configuration goes through the resolver and the merger to the recorder."""
    publisher = ConfigPublisher.start(sources(1), "", path)
    merger = BackendMerger.start(recorder_ref, elide=False)
    RouteResolver.start(path, Defaults(), merger)
    return publisher


@pytest.fixture
def direct(tmp_path, recorder_ref):
    """Start a director whose updates go to the recorder."""
    directors = []

    def start(receiver=recorder_ref, **options):
        directors.append(Director(tmp_path, receiver, **options))
        return directors[-1]

    yield start
    for director in directors:
        for publisher in director.health:
            publisher.stop()


@pytest.fixture(autouse=True)
def _logged(caplog):
    caplog.set_level("INFO")


@pytest.fixture
def kernel():
    return FakeKernel()


@pytest.fixture
def writing(kernel, tmp_path):
    return Writing(kernel, tmp_path / "ipvs.db")
