import json
import logging

import pytest

from actors.docker.key_publisher import EngineIs, Found, Publish, PublishOnly, TellFound
from actors.docker.noop_publisher import NoopPublisher
from clusterf.etcd.location import EtcdLocation
from tests.waiting import wait_until


@pytest.fixture
def logged(caplog):
    """Return the lines that a publisher logs for messages."""
    caplog.set_level(logging.INFO, "actors.docker.noop_publisher")

    def logged(*messages):
        ref = NoopPublisher.start(EtcdLocation(endpoints=("127.0.0.1:2379",), prefix=b"/p/"))
        for message in messages:
            ref.tell(message)
        ref.stop(timeout=10)
        return caplog.messages

    return logged


def test_writes_are_logged_as_etcdctl_commands(logged):
    assert logged(Publish(b"a", b"1"), Publish(b"a", None)) == [
        "etcd noop: etcdctl put /p/a 1",
        "etcd noop: etcdctl del /p/a",
    ]


def test_values_are_quoted_for_the_shell(logged):
    assert logged(Publish(b"routes/a b", b'{"tcp": 1}'), Publish(b"\x1b", b"'\n")) == [
        """etcd noop: etcdctl put '/p/routes/a b' '{"tcp": 1}'""",
        r"""etcd noop: etcdctl put '/p/\x1b' ''"'"'\n'""",
    ]


def test_complete_set_deletes_the_other_keys(logged):
    messages = [Publish(b"a", b"1"), Publish(b"b", b"2"), Publish(b"c", b"3"), PublishOnly({b"a": b"1", b"c": b"4"})]
    assert logged(*messages)[3:] == ["etcd noop: etcdctl del /p/b", "etcd noop: etcdctl put /p/c 4"]


def test_writes_that_change_nothing_are_not_logged(logged):
    assert len(logged(Publish(b"a", b"1"), Publish(b"a", b"1"), Publish(b"b", None), PublishOnly({b"a": b"1"}))) == 1


def test_unknown_message_is_a_failure(caplog):
    ref = NoopPublisher.start(EtcdLocation(endpoints=("127.0.0.1:2379",), prefix=b"/p/"))
    ref.tell("nonsense")
    wait_until(lambda: not ref.is_alive())
    assert "NoopPublisher does not handle 'nonsense'" in caplog.text


def test_command_that_is_too_long_is_not_logged_as_one(logged):
    (line,) = logged(Publish(b"a", json.dumps("'\nipvs noop: x" * 500).encode()))
    assert line.startswith("etcd noop: a command of ")
    assert len(line) < 300


def test_nothing_was_found_and_the_engine_does_not_matter(logged, recorder, recorder_ref):
    assert len(logged(TellFound(recorder_ref), EngineIs("E"), Publish(b"a", b"1"))) == 1
    wait_until(lambda: recorder.messages == [Found({})])
