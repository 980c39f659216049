"""What clients get from a director: real requests, a real node, a real kernel."""

from collections.abc import Iterator

import pytest

from tests.system.support.dataplane import BACKENDS, VIPS, DataPlane

pytestmark = pytest.mark.ipvs

EVERY_BACKEND = set(BACKENDS)


@pytest.fixture(scope="module")
def running_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DataPlane]:
    with DataPlane.build(tmp_path_factory.mktemp("dataplane")) as plane:
        yield plane


@pytest.fixture
def plane(running_plane: DataPlane) -> DataPlane:
    running_plane.set_weights(b1=10, b2=10)
    return running_plane


@pytest.fixture(params=sorted(VIPS))
def vip(request: pytest.FixtureRequest) -> str:
    return VIPS[request.param]


def test_client_reaches_every_backend_through_the_vip(plane: DataPlane, vip: str) -> None:
    assert plane.client.backends(vip) == EVERY_BACKEND


def test_weight_zero_refuses_new_connections_and_keeps_established_ones(plane: DataPlane, vip: str) -> None:
    with plane.client.talk(vip) as established:
        drained = established.say("before")
        others = EVERY_BACKEND - {drained}

        plane.set_weights(**{drained: 0})

        assert plane.client.backends(vip) == others
        with plane.client.talk(vip) as new:
            assert {new.say("new")} == others
        assert established.say("after") == drained


def test_backend_whose_weight_returns_is_used_again(plane: DataPlane, vip: str) -> None:
    with plane.client.talk(vip) as established:
        drained = established.say("before")
        plane.set_weights(**{drained: 0})
        plane.set_weights(**{drained: 10})

        assert plane.client.backends(vip) == EVERY_BACKEND
        assert established.say("after") == drained
