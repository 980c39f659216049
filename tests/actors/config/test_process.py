import pytest

from actors.base.process import Host
from actors.config.authorities_watcher import AuthoritiesWatcher
from actors.config.config_publisher import ConfigPublisher
from actors.config.etcd_watcher import EtcdWatcher
from actors.config.file_watcher import FileWatcher
from actors.config.process import start
from actors.link.messages import ValueIs
from clusterf.config.model import Backend, BackendKey
from clusterf.sources.url import parse_source
from tests.actors.support.local_links import LocalLinks
from tests.actors.support.recorder import subscribe
from tests.actors.support.some_settings import some_settings
from tests.waiting import wait_until

KEY = BackendKey(b"web", b"1")
HOST = Host(finish=lambda _: None, flushed=lambda: None, links=LocalLinks())


@pytest.fixture
def run(request, tmp_path):
    """Start the actors of the config process for these sources."""

    def run(*urls, **changes):
        folders = {"runtime_dir": str(tmp_path / "run/node"), "state_dir": str(tmp_path), "resync_interval": 1000.0}
        settings = some_settings(**folders | {"sources": tuple(map(parse_source, urls))} | changes)
        actors = start("config", settings, HOST)
        for actor in actors:
            request.addfinalizer(lambda actor=actor: actor.stop(timeout=10))
        return settings, actors

    return run


def test_each_source_has_a_watcher_of_its_kind_and_the_publisher_comes_last(run, tmp_path):
    _, actors = run(f"file://{tmp_path}/tree", "etcd://127.0.0.1:1/clusterf")
    assert [actor.actor_class for actor in actors] == [FileWatcher, EtcdWatcher, AuthoritiesWatcher, ConfigPublisher]


@pytest.mark.parametrize("raw", ["", '{"weight": -1}'])
def test_invalid_value_of_a_later_source_does_not_hide_an_earlier_one(
    run, tmp_path, recorder_ref, recorder, request, raw
):
    for number, text in ((1, '{"weight": 1}'), (2, raw)):
        file = tmp_path / f"tree{number}/services/web/backends/1"
        file.parent.mkdir(parents=True)
        file.write_text(text)
    run(*(f"file://{tmp_path}/tree{number}" for number in (1, 2)))
    request.addfinalizer(subscribe("config", HOST.links, recorder_ref).stop)
    wait_until(lambda: recorder.syncs)
    assert recorder.state[KEY] == ValueIs(KEY, Backend(weight=1), local=True)
    wait_until(lambda: len(recorder.state) == 3)  # its problem, and that nobody knows what it was


def test_value_of_the_last_source_is_published_on_the_link(run, tmp_path, recorder_ref, recorder, request):
    for number in (1, 2):
        file = tmp_path / f"tree{number}/services/web/backends/1"
        file.parent.mkdir(parents=True)
        file.write_text(f'{{"weight": {number}}}')
    settings, _ = run(*(f"file://{tmp_path}/tree{number}" for number in (1, 2)))
    request.addfinalizer(subscribe("config", HOST.links, recorder_ref).stop)
    wait_until(lambda: recorder.syncs)
    assert recorder.state == {KEY: ValueIs(KEY, Backend(weight=2), local=True)}
    assert settings.config_file.exists()
