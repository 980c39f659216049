import pytest

from actors.base.messages import Ping, Reload
from actors.config import authorities_watcher
from actors.config.authorities_watcher import AuthoritiesWatcher
from actors.config.messages import AuthoritiesRead, FileNamed
from clusterf.health.authorities import Authorities
from tests.servers import Authority
from tests.waiting import wait_until


@pytest.fixture(scope="module")
def pem(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority")).pem.read_text()


@pytest.fixture
def watcher(recorder_ref):
    return AuthoritiesWatcher.start(recorder_ref)


def last(recorder):
    return recorder.messages[-1].files if recorder.messages else None


def test_named_file_is_read_at_once_and_followed(watcher, recorder, pem, tmp_path):
    path = tmp_path / "ca.pem"
    watcher.tell(FileNamed(str(path), True))
    wait_until(lambda: last(recorder) == {str(path): Authorities(problem="no such file or directory")})
    path.write_text(pem)
    wait_until(lambda: last(recorder) == {str(path): Authorities(pem)}, 3)
    path.unlink()
    wait_until(lambda: last(recorder) == {str(path): Authorities(pem, "no such file or directory")}, 3)
    watcher.tell(FileNamed(str(path), False))
    watcher.tell(FileNamed(str(path), True))
    wait_until(lambda: last(recorder) == {str(path): Authorities(problem="no such file or directory")})


def test_file_that_a_thousand_checks_name_is_told_once(watcher, recorder, pem, tmp_path):
    path = tmp_path / "ca.pem"
    path.write_text(pem)
    for _ in range(1000):
        watcher.tell(FileNamed(str(path), True))
    wait_until(lambda: recorder.messages)
    watcher.tell(FileNamed("/none", True))
    wait_until(lambda: last(recorder) != {str(path): Authorities(pem)})
    assert recorder.messages[0] == AuthoritiesRead({str(path): Authorities(pem)})
    assert len(recorder.messages) == 2


def test_all_files_are_read_again_at_a_reload(watcher, recorder, pem, tmp_path, monkeypatch):
    monkeypatch.setattr(authorities_watcher, "INTERVAL", 3600.0)
    path = tmp_path / "ca.pem"
    watcher.tell(FileNamed(str(path), True))
    wait_until(lambda: recorder.messages)
    path.write_text(pem)
    watcher.tell(Reload())
    wait_until(lambda: last(recorder) == {str(path): Authorities(pem)})


def test_watcher_without_files_stops_at_once(watcher):
    watcher.ask(Ping(), timeout=10)
    thread = watcher._actor_weakref()._thread
    assert watcher.stop(timeout=10)
    thread.join(5)
    assert not thread.is_alive()


def test_unexpected_message_stops_the_actor(watcher):
    watcher.tell("nonsense")
    assert watcher.actor_stopped.wait(10)
