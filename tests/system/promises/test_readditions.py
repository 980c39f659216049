"""Connections are held through a backend that is removed and added again and again."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.system.support.dataplane import BACKENDS, ECHO, ECHO_BACKEND, VIPS, DataPlane

pytestmark = pytest.mark.ipvs

VIP = VIPS["ipv4"]
CONNECTIONS, TIMES = 8, 20


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DataPlane]:
    folder: Path = tmp_path_factory.mktemp("plane")
    with DataPlane.build(folder) as plane:
        plane.director.wait_for_weight("b1", 10)
        plane.director.wait_for_weight("b2", 10)
        yield plane


def weight(plane: DataPlane, backend: str) -> str:
    """Return the line of a backend's real server in the echo service, empty without one."""
    real = f"-a -t {VIP}:{ECHO} -r {BACKENDS[backend]['ipv4']}:{ECHO_BACKEND} "
    return next((line.removeprefix(real) for line in plane.director.table() if line.startswith(real)), "")


def test_connections_continue_while_their_backend_is_removed_and_added_again(plane: DataPlane) -> None:
    with ExitStack() as stack:
        talks = [stack.enter_context(plane.client.talk(VIP)) for _ in range(CONNECTIONS)]
        backends = [talk.say("before") for talk in talks]
        assert set(backends) == set(BACKENDS)
        for number in range(TIMES):
            for service in ("echo", "web"):
                plane.tree.remove(f"services/{service}/backends/b1")
            plane.director.wait_for(lambda: weight(plane, "b1") == "-m -w 0")
            assert [talk.say(f"without{number}") for talk in talks] == backends
            plane.set_weights(b1=10, b2=10)
            assert [talk.say(f"with{number}") for talk in talks] == backends
