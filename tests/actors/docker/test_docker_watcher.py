import json
import logging
from types import MappingProxyType

import pytest

from actors.base.messages import Reload
from actors.docker import record_keeper
from actors.docker.docker_watcher import DockerWatcher
from actors.docker.key_publisher import EngineIs, Found, Publish, PublishOnly, TellFound
from actors.docker.record_keeper import Owner
from clusterf.docker import session
from clusterf.docker.addresses import Addressing
from clusterf.docker.inventory import Inventory
from clusterf.docker.routes import Routing
from clusterf.lib.store import Store
from tests.clusterf.support.fake_docker import FakeDocker
from tests.clusterf.support.fake_engine import network
from tests.waiting import wait_until

RUN = ("create", "connect", "start")


def key(one="c1"):
    return f"services/web/backends/{one}".encode()


@pytest.fixture
def docker():
    return FakeDocker()


@pytest.fixture
def watch(docker, recorder_ref, tmp_path):
    routing = Routing(networks=frozenset(["front"]), method="droute")

    def watch(interval=600, found=MappingProxyType({}), machine="one", boot="1"):
        watcher = DockerWatcher.start(
            "unix:///fake",
            docker.connect,
            lambda records: Inventory(Addressing(), routing, records),
            lambda: Store(tmp_path / "docker.db"),
            interval,
            recorder_ref,
            Owner(machine, boot),
        )
        if found is not None:
            watcher.tell(Found(found))
        return watcher

    return watch


@pytest.fixture
def published(recorder):
    """Return the weight of each backend by key; 10 for other keys."""

    def published():
        keys = {}
        for message in told(recorder):
            if isinstance(message, PublishOnly):
                keys = dict(message.wanted)
            elif message.value is None:
                del keys[message.path]
            else:
                keys[message.path] = message.value
        return {path: json.loads(value).get("weight", 10) for path, value in keys.items()}

    return published


def told(recorder):
    return [message for message in list(recorder.messages) if isinstance(message, Publish | PublishOnly)]


def complete_sets(recorder):
    return [message for message in list(recorder.messages) if isinstance(message, PublishOnly)]


def test_complete_set_is_published_first_and_then_changes(docker, watch, recorder, published):
    docker.do(*RUN)
    docker.do(*RUN, one="c2")
    docker.networks.append(network("front", "172.31.0.0/16"))
    watcher = watch()
    wait_until(lambda: published() == {key("c1"): 10, key("c2"): 10, b"routes/id-of-front": 10})
    assert TellFound(watcher) in recorder.messages
    assert EngineIs("engine") in recorder.messages
    assert isinstance(told(recorder)[0], PublishOnly)
    docker.do(*RUN, one="c3")
    wait_until(lambda: published().get(key("c3")) == 10)
    docker.do("kill=15", "die", "destroy", one="c1")
    wait_until(lambda: key("c1") not in published())
    assert len(complete_sets(recorder)) == 1
    assert all(isinstance(message, Publish) for message in told(recorder)[1:])


def test_recorded_stop_survives_a_restart(docker, watch, recorder, published):
    docker.do(*RUN)
    watcher = watch()
    wait_until(lambda: published() == {key(): 10})
    docker.do("kill=15")
    wait_until(lambda: published() == {key(): 0})
    watcher.stop()
    docker.past.clear()
    recorder.messages.clear()
    watch()
    wait_until(lambda: complete_sets(recorder))
    assert published() == {key(): 0}


def test_complete_set_is_published_once_every_container_is_readable(
    docker, watch, recorder, published, caplog, monkeypatch
):
    monkeypatch.setattr(session, "RETRY", 0.02)
    docker.do(*RUN)
    docker.do(*RUN, one="c2")
    docker.refused["c1"] = "timed out after 5 seconds"
    watch()
    wait_until(lambda: published() == {key("c2"): 10})
    wait_until(lambda: docker.asked.count("containers") > 3)
    assert complete_sets(recorder) == []
    assert caplog.text.count("docker: c1: unreadable: timed out after 5 seconds (keeping its last known state)") == 1
    docker.refused.clear()
    wait_until(lambda: complete_sets(recorder))
    assert published() == {key("c1"): 10, key("c2"): 10}


def test_lasting_problem_is_logged_once(docker, watch, recorder, caplog):
    docker.engine.labels["backend.tcp"] = "9"
    docker.do(*RUN)
    watcher = watch()
    wait_until(lambda: "port 9/tcp is not exposed" in caplog.text)
    wait_until(lambda: complete_sets(recorder))
    for again in (lambda: docker.do("pause"), lambda: watcher.tell(Reload()), lambda: docker.do("unpause")):
        docker.asked.clear()
        again()
        wait_until(lambda: "c1" in docker.asked)
    assert caplog.text.count("docker: web: backend.tcp: port 9/tcp is not exposed") == 1


def test_invalid_record_is_logged_and_ignored(docker, watch, published, tmp_path, caplog):
    Store(tmp_path / "docker.db").update("marks", {b"c1": b"\xff"})
    docker.do(*RUN)
    watch()
    wait_until(lambda: published() == {key(): 10})
    assert "docker: invalid stored record of c1: not a container record: " in caplog.text


def test_failure_of_the_follower_is_the_actors(docker, watch, caplog):
    caplog.set_level(logging.CRITICAL)
    docker.connect = lambda: 1 / 0
    watcher = watch()
    wait_until(lambda: not watcher.is_alive())


def test_actor_stops_at_once_and_withdraws_nothing(docker, watch, published):
    docker.do(*RUN)
    watcher = watch()
    wait_until(lambda: published() == {key(): 10})
    assert watcher.stop(timeout=1)
    assert published() == {key(): 10}


def test_records_are_written_anew_when_their_file_is_gone(docker, watch, recorder, published, tmp_path, monkeypatch):
    monkeypatch.setattr(record_keeper, "KEEP_INTERVAL", 0.01)
    docker.do(*RUN, "kill=15")
    watch()
    wait_until(lambda: published() == {key(): 0})
    (tmp_path / "docker.db").unlink()
    wait_until((tmp_path / "docker.db").exists)
    wait_until(lambda: list(Store(tmp_path / "docker.db", read_only=True).items("marks")))


def test_nothing_is_published_before_it_is_known_what_an_earlier_node_has(docker, watch, recorder, published):
    docker.do(*RUN)
    watcher = watch(found=None)
    wait_until(lambda: "c1" in docker.asked)
    docker.do("pause", "unpause")
    wait_until(lambda: docker.asked.count("c1") > 1)
    assert told(recorder) == []
    watcher.tell(Found({}))
    wait_until(lambda: published() == {key(): 10})


def test_engine_that_does_not_answer_keeps_no_key_from_being_published_that_is_on_record(
    docker, watch, recorder, published, caplog
):
    docker.do(*RUN)
    docker.do(*RUN, one="c2")
    watcher = watch()
    wait_until(lambda: published() == {key("c1"): 10, key("c2"): 10})
    docker.do("pause", one="c2")
    wait_until(lambda: published() == {key("c1"): 10, key("c2"): 0})
    watcher.stop()
    recorder.messages.clear()
    docker.away = "timed out"
    docker.do("kill=9", "die", "destroy", one="c1")
    watch()
    wait_until(lambda: published() == {key("c1"): 10, key("c2"): 0})
    assert "publishing 2 keys as they are on record, until the engine answers" in caplog.text
    docker.away = ""
    wait_until(lambda: published() == {key("c2"): 0})


@pytest.mark.parametrize("there", [{"boot": "2"}, {"machine": "two"}])
def test_what_is_on_record_of_another_boot_or_machine_is_not_published(docker, watch, recorder, published, there):
    docker.do(*RUN)
    watcher = watch()
    wait_until(lambda: published() == {key(): 10})
    watcher.stop()
    recorder.messages.clear()
    docker.away = "timed out"
    connects = docker.connects
    watch(**there)
    wait_until(lambda: docker.connects > connects + 2)
    assert told(recorder) == []


def test_container_whose_record_is_lost_is_published_where_it_was(docker, watch, published, tmp_path):
    docker.do("create", "disconnect", "connect=front", "connect=back", "start")
    watcher = watch(found=None)
    wait_until(lambda: "c1" in docker.asked)
    watcher.tell(Found({key(): b'{"ipv4": "172.31.0.4", "tcp": 8080}'}))
    wait_until(lambda: published() == {key(): 10})
    watcher.stop()
    (tmp_path / "docker.db").unlink()
    watch(found={key(): b'{"ipv4": "172.31.0.9", "tcp": 8080}', b"routes/x": b"{}", key("c2"): b"["})
    wait_until(lambda: published() == {})
