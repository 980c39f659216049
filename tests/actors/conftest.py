"""Fixtures for tests of actors."""

import pykka
import pytest

from actors.link.subscription import Subscription
from tests.actors.support.recorder import Recorder


@pytest.fixture(autouse=True)
def _no_subscription_is_left(monkeypatch):
    """Stop the subscriptions of actors that failed, and so never stopped them: their lines are not of the next test."""
    started = []
    start = Subscription.start

    def start_and_remember(subscription):
        start(subscription)
        started.append(subscription)

    monkeypatch.setattr(Subscription, "start", start_and_remember)
    yield
    for subscription in started:
        subscription.stop()
        subscription._thread.join(5)


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
