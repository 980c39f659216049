"""What the tests of the actors share."""

import pykka
import pytest

from tests.actors.support.recorder import Recorder


@pytest.fixture(autouse=True)
def _no_actor_is_left():
    yield
    pykka.ActorRegistry.stop_all()


@pytest.fixture
def recorder_ref():
    return Recorder.start()


@pytest.fixture
def recorder(recorder_ref):
    """The recorder itself, to be looked at only."""
    return recorder_ref._actor_weakref()
