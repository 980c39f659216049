import pytest

from clusterf.docker.events import EngineEvent, event_of
from tests.clusterf.support.fake_engine import event


@pytest.mark.parametrize(
    ("raw", "parsed"),
    [
        (event("container", "start", "c1", 5), EngineEvent("container", "start", "c1", 5)),
        (event("container", "kill", "c1", 5, signal="15"), EngineEvent("container", "kill", "c1", 5, 15)),
        (event("container", "start", "c1", 5, signal="15"), EngineEvent("container", "start", "c1", 5)),
        (event("container", "kill", "c1", 5), EngineEvent("container", "kill", "c1", 5, 0)),
        (event("container", "health_status: unhealthy", "c1", 5), EngineEvent("container", "health_status", "c1", 5)),
        (
            event("network", "connect", "n1", 5, container="c1"),
            EngineEvent("network", "connect", "n1", 5, container="c1"),
        ),
        (event("container", "start", "c1", 5, container="c2"), EngineEvent("container", "start", "c1", 5)),
        ({"Type": "daemon", "Action": "reload", "Actor": {}}, EngineEvent("daemon", "reload", "", 0)),
        (
            {"Type": "t", "Action": "a", "Actor": {"ID": "i", "Attributes": None}, "time": 7},
            EngineEvent("t", "a", "i", 7 * 10**9),
        ),
    ],
)
def test_event_has_the_fields_of_the_engines_json(raw, parsed):
    assert event_of(raw) == parsed


@pytest.mark.parametrize("raw", [{}, {"status": "start", "id": "c1"}, [], {"Type": 1, "Action": "a", "Actor": {}}])
def test_invalid_event_is_refused(raw):
    with pytest.raises(ValueError, match="unexpected JSON"):
        event_of(raw)
