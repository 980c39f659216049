import json
import logging
import threading

import msgspec
import pytest

from actors.base.messages import Reload
from actors.docker.docker_watcher import DockerWatcher
from actors.docker.key_publisher import Publish, PublishOnly
from clusterf.docker import session
from clusterf.docker.addresses import Addressing
from clusterf.docker.inventory import Inventory
from clusterf.docker.routes import Routing
from clusterf.lib.store import Store
from tests.actors.support.fake_docker import FakeDocker
from tests.clusterf.support.fake_engine import event, network
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

    def watch(interval=600):
        return DockerWatcher.start(
            "unix:///fake",
            docker.connect,
            lambda records: Inventory(Addressing(), routing, records),
            lambda: Store(tmp_path / "docker.db"),
            interval,
            recorder_ref,
        )

    return watch


@pytest.fixture
def published(recorder):
    """Return what is published, by key: the weight of backends, and whatever else there is."""

    def published():
        keys = {}
        for message in list(recorder.messages):
            if isinstance(message, PublishOnly):
                keys = {**message.if_absent, **message.wanted}
            elif message.value is None:
                del keys[message.path]
            else:
                keys[message.path] = message.value
        return {path: json.loads(value).get("weight", 10) for path, value in keys.items()}

    return published


def whole(recorder):
    return [message for message in list(recorder.messages) if isinstance(message, PublishOnly)]


def test_all_there_is_is_told_as_a_whole_and_then_what_changes(docker, watch, recorder, published):
    docker.do(*RUN)
    docker.do(*RUN, one="c2")
    docker.networks.append(network("front", "172.31.0.0/16"))
    watch()
    wait_until(lambda: published() == {key("c1"): 10, key("c2"): 10, b"routes/id-of-front": 10})
    assert isinstance(recorder.messages[0], PublishOnly)
    docker.do(*RUN, one="c3")
    wait_until(lambda: published().get(key("c3")) == 10)
    docker.do("kill=15", "die", "destroy", one="c1")
    wait_until(lambda: key("c1") not in published())
    assert len(whole(recorder)) == 1
    assert all(isinstance(message, Publish) for message in recorder.messages[1:])


def test_a_check_from_a_label_is_told_as_one_for_where_there_is_none(docker, watch, recorder):
    docker.engine.labels["health"] = "tcp"
    docker.do(*RUN)
    watch()
    wait_until(lambda: whole(recorder))
    assert whole(recorder)[0].if_absent == {b"services/web/health": b'{"type":"tcp"}'}
    docker.do("die", "destroy")
    wait_until(lambda: Publish(b"services/web/health", None, if_absent=True) in recorder.messages)


def test_a_check_comes_before_the_first_backend_that_it_is_for_and_goes_after_the_last(
    docker, watch, recorder, published
):
    watch()
    wait_until(lambda: whole(recorder))
    docker.engine.labels["health"] = "tcp"
    docker.do(*RUN)
    wait_until(lambda: published().get(key()) == 10)
    docker.do("die", "destroy")
    wait_until(lambda: Publish(b"services/web/health", None, if_absent=True) in recorder.messages)
    paths = [message.path for message in recorder.messages[1:]]
    assert paths[0] == paths[-1] == b"services/web/health"
    assert key() in paths


def test_a_container_that_is_told_to_stop_has_weight_0_without_being_looked_at(docker, watch, published):
    docker.do(*RUN)
    watch()
    wait_until(lambda: published() == {key(): 10})
    docker.held["c1"] = threading.Event()
    docker.asked.clear()
    docker.do("kill=15")
    wait_until(lambda: published() == {key(): 0})
    assert "c1" not in docker.asked


def test_a_look_that_takes_long_holds_up_nothing_else(docker, watch, published):
    for one in ("c1", "c2"):
        docker.do(*RUN, one=one)
    watcher = watch()
    wait_until(lambda: len(published()) == 2)
    docker.held["c1"] = held = threading.Event()
    docker.asked.clear()
    watcher.tell(Reload())
    wait_until(lambda: "c1" in docker.asked)
    docker.do("kill=15", one="c2")
    docker.do(*RUN, one="c3")
    wait_until(lambda: published() == {key("c1"): 10, key("c2"): 0, key("c3"): 10})
    held.set()
    docker.do("destroy", one="c2")
    wait_until(lambda: published() == {key("c1"): 10, key("c3"): 10})


def test_what_is_started_while_a_list_is_made_is_not_taken_to_be_gone(docker, watch, recorder, published):
    docker.do(*RUN)
    docker.held["c1"] = held = threading.Event()
    watch()
    wait_until(lambda: "c1" in docker.asked)
    docker.do(*RUN, one="c2")
    wait_until(lambda: "c2" in docker.asked)
    assert recorder.messages == []
    held.set()
    wait_until(lambda: published() == {key("c1"): 10, key("c2"): 10})
    assert all(message.value for message in recorder.messages[1:])


def test_a_look_that_began_before_the_start_does_not_count_after_it(docker, watch, published):
    docker.do(*RUN)
    watch()
    wait_until(lambda: published() == {key(): 10})
    docker.held["c1"] = held = threading.Event()
    docker.asked.clear()
    docker.do("die")
    wait_until(lambda: docker.asked == ["c1"])  # what it sees is a container that has ended
    docker.do("connect", "start")
    wait_until(lambda: published() == {key(): 10})
    held.set()
    for one in ("c2", "c3", "c4"):
        docker.do(*RUN, one=one)
        wait_until(lambda one=one: key(one) in published())
    assert published()[key()] == 10


def test_a_container_that_is_not_found_is_gone(docker, watch, published):
    docker.do(*RUN)
    watch()
    wait_until(lambda: published() == {key(): 10})
    docker.engine.do("destroy")  # which nobody tells
    docker.tell(msgspec.json.encode(event("container", "pause", "c1")))
    wait_until(lambda: published() == {})


def test_a_lost_connection_is_made_again_and_only_what_is_gone_goes(docker, watch, recorder, published, caplog):
    for one in ("c1", "c2", "c3"):
        docker.do(*RUN, one=one)
    watch()
    wait_until(lambda: len(published()) == 3)
    told = len(recorder.messages)
    docker.away = "no such socket"
    docker.lose()
    wait_until(lambda: "unavailable (the stream has ended), reconnecting; keeping the published keys" in caplog.text)
    docker.do("kill=15", one="c2")  # and it goes on for a while, as nobody but the event tells
    docker.do("kill=9", "die", "destroy", one="c3")
    docker.do(*RUN, one="c4")
    wait_until(lambda tries=docker.tries: docker.tries > tries + 1)
    assert len(recorder.messages) == told
    docker.away = ""
    wait_until(lambda: published() == {key("c1"): 10, key("c2"): 0, key("c4"): 10})
    assert not any(message.path == key("c1") for message in recorder.messages[told:])
    assert caplog.text.count("keeping the published keys") == 1


def test_a_silent_engine_is_asked_whether_it_lives(docker, watch, published, caplog, monkeypatch):
    monkeypatch.setattr(session, "PING", 0.02)
    docker.do(*RUN)
    watch()
    wait_until(lambda: published() == {key(): 10})
    docker.asked.clear()
    wait_until(lambda: docker.asked.count("clock") > 2)
    docker.away = "no answer"
    wait_until(lambda: "unavailable (no answer)" in caplog.text)
    docker.away = ""
    docker.do("pause")
    wait_until(lambda: published() == {key(): 0})


def test_all_is_listed_again_at_an_interval(docker, watch, published):
    docker.do(*RUN)
    watch(interval=0.05)
    wait_until(lambda: published() == {key(): 10})
    docker.engine.do("pause")  # which nobody tells
    wait_until(lambda: published() == {key(): 0})
    docker.engine.do("destroy")
    wait_until(lambda: published() == {})


def test_a_stop_is_remembered_across_restarts(docker, watch, recorder, published):
    docker.do(*RUN)
    watcher = watch()
    wait_until(lambda: published() == {key(): 10})
    docker.do("kill=15")
    wait_until(lambda: published() == {key(): 0})
    watcher.stop()
    docker.past.clear()
    recorder.messages.clear()
    watch()
    wait_until(lambda: whole(recorder))
    assert published() == {key(): 0}


def test_a_stop_before_the_node_started_is_known_from_what_the_engine_still_tells(docker, watch, published, recorder):
    docker.do(*RUN, "kill=15")
    docker.do(*RUN, "kill=15", "die", "connect", "start", one="c2")
    watch()
    wait_until(lambda: whole(recorder))
    assert published() == {key("c1"): 0, key("c2"): 10}


def test_where_a_container_cannot_be_read_nothing_is_removed_until_it_can(
    docker, watch, recorder, published, caplog, monkeypatch
):
    monkeypatch.setattr(session, "RETRY", 0.02)
    docker.do(*RUN)
    docker.do(*RUN, one="c2")
    docker.refused["c1"] = "timed out after 5 seconds"
    watch()
    wait_until(lambda: published() == {key("c2"): 10})
    wait_until(lambda: docker.asked.count("containers") > 3)
    assert whole(recorder) == []
    assert caplog.text.count("docker: c1: unreadable: timed out after 5 seconds (keeping its last known state)") == 1
    docker.refused.clear()
    wait_until(lambda: whole(recorder))
    assert published() == {key("c1"): 10, key("c2"): 10}


def test_garbage_is_reported_and_concerns_nobody_else(docker, watch, published, caplog):
    for one in ("c1", "c2"):
        docker.do(*RUN, one=one)
    watcher = watch()
    wait_until(lambda: len(published()) == 2)
    docker.odd["c1"] = {"Id": 7}
    for line in (b"{", b"[]", b'"x"', b'{"Type": 1}', b"\xff"):
        docker.tell(line)
    watcher.tell(Reload())
    docker.do("pause", one="c2")
    wait_until(lambda: published() == {key("c1"): 10, key("c2"): 0})
    wait_until(lambda: "c1: unreadable: unexpected JSON" in caplog.text)
    assert caplog.text.count("invalid event") == 5


@pytest.mark.parametrize("answer", [[{"Id": 1}], [1], [{"Id": "c1", "Labels": []}]])
def test_a_list_that_is_garbage_takes_nothing_away(docker, watch, published, caplog, monkeypatch, answer):
    docker.do(*RUN)
    watcher = watch()
    wait_until(lambda: published() == {key(): 10})
    monkeypatch.setattr("tests.actors.support.fake_docker.Connection.containers", lambda _: answer)
    watcher.tell(Reload())
    wait_until(lambda: "unexpected JSON" in caplog.text)
    assert published() == {key(): 10}
    assert watcher.is_alive()


def test_containers_without_labels_are_never_looked_at(docker, watch, recorder, published):
    docker.do("create=no", "connect", "start", one="plain")
    docker.do(*RUN)
    watch()
    wait_until(lambda: published() == {key(): 10})
    docker.do("kill=15", "die", one="plain")
    docker.do("pause")
    wait_until(lambda: published() == {key(): 0})
    assert "plain" not in docker.asked


def test_each_problem_is_said_once(docker, watch, recorder, caplog):
    docker.engine.labels["backend.tcp"] = "9"
    docker.do(*RUN)
    watcher = watch()
    wait_until(lambda: "port 9/tcp is not exposed" in caplog.text)
    wait_until(lambda: whole(recorder))
    for again in (lambda: docker.do("pause"), lambda: watcher.tell(Reload()), lambda: docker.do("unpause")):
        docker.asked.clear()
        again()
        wait_until(lambda: "c1" in docker.asked)
    assert caplog.text.count("docker: web: backend.tcp: port 9/tcp is not exposed") == 1


def test_a_damaged_mark_is_reported_and_left_out(docker, watch, published, tmp_path, caplog):
    Store(tmp_path / "docker.db").update("marks", {b"c1": b"\xff"})
    docker.do(*RUN)
    watch()
    wait_until(lambda: published() == {key(): 10})
    assert "docker: invalid stored record of c1: not a container record: " in caplog.text


def test_a_thread_that_fails_takes_the_actor_with_it(docker, watch, caplog):
    caplog.set_level(logging.CRITICAL)
    docker.connect = lambda: 1 / 0
    watcher = watch()
    wait_until(lambda: not watcher.is_alive())


def test_an_actor_that_is_stopped_leaves_at_once(docker, watch, published):
    docker.do(*RUN)
    watcher = watch()
    wait_until(lambda: published() == {key(): 10})
    assert watcher.stop(timeout=1)
    assert published() == {key(): 10}
