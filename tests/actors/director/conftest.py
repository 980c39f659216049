"""Fixtures of the director process."""

import pytest

from actors.config.config_publisher import ConfigPublisher
from actors.director.backend_merger import BackendMerger
from actors.director.route_resolver import RouteResolver
from clusterf.resolve.virtual_servers import Defaults
from tests.actors.support.director import Director, sources
from tests.actors.support.fake_kernel import FakeKernel
from tests.actors.support.local_links import LocalLinks
from tests.actors.support.writing import Writing


@pytest.fixture
def links():
    return LocalLinks()


@pytest.fixture
def chain(links, recorder_ref):
    """A config publisher whose configuration goes through the resolver and the merger to the recorder."""
    publisher = ConfigPublisher.start(sources(1), "", links)
    merger = BackendMerger.start(recorder_ref, links, elide=False)
    RouteResolver.start(links, Defaults(), merger)
    return publisher


@pytest.fixture
def direct(links, recorder_ref):
    """Start a director whose updates go to the recorder."""
    directors = []

    def start(receiver=recorder_ref, **options):
        directors.append(Director(links, receiver, **options))
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
