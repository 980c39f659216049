import msgspec
import pytest

from clusterf.docker.engine import EngineError, Refused
from clusterf.docker.intake import Intake
from clusterf.docker.inventory import Inspection, Inventory
from clusterf.lib.text import printable
from tests.clusterf.support.fake_engine import START, event, inspect, network
from tests.clusterf.support.hostile_etcd import HOSTILE

C1 = Inspection("container", "c1")
KEY = b"services/web/backends/c1"
LABELS = {"service": "web", "backend.tcp": "8080"}


@pytest.fixture
def reports():
    return []


@pytest.fixture
def intake(reports):
    return Intake("unix:///fake", Inventory(), lambda changes, complete: reports.append((changes, complete)))


def line(*words, **attributes):
    return msgspec.json.encode(event(*words, **attributes))


def test_event_calls_for_an_inspection_and_sets_the_time(intake):
    assert intake.event(line("container", "start", "c1", START + 5)) == C1
    assert intake.last_event == START + 5
    intake.event(line("container", "start", "c2", START + 3))  # after the clock was set back
    assert intake.last_event == START + 3
    intake.event(b"{}")
    assert intake.last_event == START + 3


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b"{}", b"\xff"])
def test_invalid_event_is_logged_and_ignored(intake, raw, caplog):
    assert intake.event(raw) is None
    assert "docker: unix:///fake: invalid event: " in caplog.text
    assert caplog.text.rstrip().endswith("(ignored)")


def test_labelled_containers_of_a_list_are_inspected(intake):
    containers = [{"Id": "c1", "Labels": {"net.qmsk.clusterf.service": "web"}}, {"Id": "c2", "Labels": {"x": ""}}]
    present, inspections = intake.listed([*containers, {"Id": "c3"}], [network("front", "10.1.0.0/16")])
    assert present == {"c1", "c2", "c3", "id-of-front"}
    assert inspections == [C1]


@pytest.mark.parametrize("containers", [[1], [{}], [{"Id": 7}], [{"Id": "c1", "Labels": []}]])
def test_invalid_list_is_an_engine_error(intake, containers):
    with pytest.raises(EngineError, match="unexpected JSON"):
        intake.listed(containers, [])


def test_changes_are_reported_once(intake, reports):
    intake.inspected(C1, inspect(labels=LABELS), None)
    intake.report()
    intake.report()
    ((changes, complete),) = reports
    assert (changes.keys.keys(), complete) == ({KEY}, False)


def test_complete_list_is_reported_without_changes_too(intake, reports):
    assert intake.list_completed(set())
    assert [complete for _, complete in reports] == [True]


def test_container_that_is_not_listed_is_removed(intake, reports):
    intake.inspected(C1, inspect(labels=LABELS), None)
    intake.report()
    assert intake.list_completed({"c2"})
    assert reports[-1][0].keys == {KEY: None}


def test_container_that_the_engine_does_not_have_is_removed(intake, reports):
    intake.inspected(C1, inspect(labels=LABELS), None)
    intake.report()
    intake.inspected(C1, None, None)
    intake.report()
    assert reports[-1][0].keys == {KEY: None}


@pytest.mark.parametrize(("answer", "error"), [(None, Refused("timed out")), ({"Id": 7}, None)])
def test_unreadable_container_keeps_its_state_and_the_list_incomplete(intake, reports, caplog, answer, error):
    intake.inspected(C1, inspect(labels=LABELS), None)
    intake.report()
    for _ in range(2):
        intake.inspected(C1, answer, error)
        assert not intake.list_completed({"c1"})
    assert len(reports) == 1
    assert caplog.text.count("docker: c1: unreadable: ") == 1
    intake.inspected(C1, inspect(labels=LABELS), None)
    assert intake.list_completed({"c1"})


def test_unreadable_container_that_is_removed_leaves_the_list_complete(intake):
    intake.inspected(C1, {"Id": 7}, None)
    assert not intake.list_completed({"c1"})
    assert intake.list_completed({"c2"})


def test_lost_connection_ends_the_session(intake):
    with pytest.raises(EngineError, match="reset"):
        intake.inspected(C1, None, EngineError("reset"))


def test_texts_of_the_engine_are_printable_and_short(intake, caplog):
    intake.inspected(Inspection("container", "\x1b\nc1"), None, Refused(HOSTILE * 100))
    intake.inspected(Inspection("container", HOSTILE), None, Refused("gone"))
    intake.inspected(C1, [HOSTILE], None)
    for message in caplog.messages:
        assert printable(message) == message
        assert message.startswith("docker: ")
        assert len(message) < 400
    assert len(caplog.messages) == 3
