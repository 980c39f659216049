"""RouteResolver, BackendMerger and ConfigPublisher: the thin actors around what clusterf decides."""

import pytest

from actors.backend_merger import BackendMerger
from actors.config_publisher import ConfigPublisher
from actors.link import Subscription
from actors.messages import BackendIs, FrontendIs, MergedUpdate, Ping, ProblemsAre, Reload, RouteIs, SourceSaid
from actors.route_resolver import RouteResolver
from clusterf.codec import Problem, decode
from clusterf.keys import parse_key
from clusterf.merge import RealServerWanted, VirtualServerWanted
from clusterf.model import BackendKey, RouteKey
from clusterf.resolve import Defaults, ProblemsOf
from clusterf.source import Source
from tests.waiting import wait_until


def value(path, text):
    return decode("s", path, parse_key(path), text).value


FRONTEND = FrontendIs(b"web", value(b"services/web/frontend", b'{"ipv4": "10.1.1.1", "tcp": 80}'))
RIVAL = FrontendIs(b"web2", FRONTEND.value)


def backend(weight):
    raw = b'{"ipv4": "10.2.2.1", "tcp": 8080, "weight": %d}' % weight
    return BackendIs(b"web", b"1", value(b"services/web/backends/1", raw))


def sources(count):
    return tuple(Source(f"file:///{number}", tree=f"/{number}") for number in range(count))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "config.sock"


@pytest.fixture
def chain(path, recorder_ref):
    """A configuration, as its publisher, that goes through all of the actors up to the recorder."""
    publisher = ConfigPublisher.start(sources(1), "", path)
    merger = BackendMerger.start(recorder_ref, elide=False)
    RouteResolver.start(path, Defaults(), merger)
    return publisher


def updates(recorder):
    """Take all updates that have come."""
    found = [message for message in recorder.messages if isinstance(message, MergedUpdate)]
    for update in found:
        update.taken()
    return found


def items(recorder):
    return [item for update in updates(recorder) for item in update.items]


def test_a_configuration_becomes_what_is_wanted(chain, recorder):
    chain.tell(SourceSaid(0, (FRONTEND, backend(7))))
    wait_until(lambda: len(items(recorder)) >= 2)
    first, second = items(recorder)
    assert isinstance(first, VirtualServerWanted)
    assert isinstance(second, RealServerWanted)
    assert second.settings.weight == 7
    assert not any(update.synced for update in updates(recorder))
    chain.tell(SourceSaid(0, (), synced=True))
    wait_until(lambda: updates(recorder)[-1].synced)


def test_only_what_changed_is_wanted_anew(chain, recorder):
    chain.tell(SourceSaid(0, (FRONTEND, backend(7)), synced=True))
    wait_until(lambda: len(items(recorder)) == 2)
    chain.tell(SourceSaid(0, (backend(8),)))
    wait_until(lambda: len(items(recorder)) == 3)
    assert items(recorder)[-1].settings.weight == 8


def test_what_is_wrong_comes_along_with_what_is_wanted_and_is_logged_once(chain, recorder, caplog):
    problem = Problem("s", b"services/x/frontend", "", "bad", fatal=True)
    said = ProblemsAre("s", b"services/x/frontend", (problem,))
    chain.tell(SourceSaid(0, (FRONTEND, RIVAL, said), synced=True))
    wait_until(lambda: len([item for item in items(recorder) if isinstance(item, ProblemsOf)]) == 2)
    assert ProblemsOf(said.key, (problem,)) in items(recorder)
    assert caplog.text.count("belongs to service web") == 1
    assert "bad" not in caplog.text


@pytest.mark.parametrize("kind", [BackendMerger, ConfigPublisher, RouteResolver])
def test_a_ping_is_answered_a_reload_heard_and_nonsense_is_a_failure(kind, path, recorder_ref):
    ref = {
        BackendMerger: lambda: BackendMerger.start(recorder_ref, elide=False),
        ConfigPublisher: lambda: ConfigPublisher.start(sources(1), "", path),
        RouteResolver: lambda: RouteResolver.start(path, Defaults(), recorder_ref),
    }[kind]()
    answers = []
    ref.tell(Reload())
    ref.tell(Ping(lambda: answers.append(True)))
    wait_until(lambda: answers)
    ref.tell("nonsense")
    wait_until(lambda: not ref.is_alive())


def test_an_actor_whose_receiver_has_stopped_does_not_fail(chain, recorder_ref, caplog):
    recorder_ref.stop()
    chain.tell(SourceSaid(0, (FRONTEND,), synced=True))
    answers = []
    chain.tell(Ping(lambda: answers.append(True)))
    wait_until(lambda: answers)
    assert "failed" not in caplog.text
    assert chain.is_alive()


@pytest.fixture
def published(path, recorder_ref):
    """What a publisher of two sources says, and that publisher."""
    ref = ConfigPublisher.start(sources(2), "file:///0", path)
    subscription = Subscription(path, recorder_ref.tell)
    subscription.start()
    yield ref
    subscription.stop()


def test_all_is_told_when_all_sources_have_told_all(published, recorder):
    published.tell(SourceSaid(0, (backend(1),), synced=True))
    wait_until(lambda: recorder.state)
    assert not recorder.syncs
    published.tell(SourceSaid(1, (), synced=True))
    wait_until(lambda: recorder.syncs)


def test_a_later_source_wins_by_key_and_the_earlier_one_is_fallen_back_to(published, recorder):
    key = BackendKey(b"web", b"1")
    published.tell(SourceSaid(1, (backend(2),), synced=True))
    published.tell(SourceSaid(0, (backend(1),), synced=True))
    wait_until(lambda: recorder.syncs)
    assert recorder.state[key] == backend(2)
    published.tell(SourceSaid(1, (BackendIs(b"web", b"1", None),)))
    wait_until(lambda: recorder.state.get(key) == backend(1))
    published.tell(SourceSaid(0, (BackendIs(b"web", b"1", None),)))
    wait_until(lambda: key not in recorder.state)


def test_routes_are_taken_only_from_the_sources_chosen(published, recorder):
    route = value(b"routes/r", b'{"Prefix": "10.0.0.0/8"}')
    published.tell(SourceSaid(1, (RouteIs(b"no", route), backend(1)), synced=True))
    published.tell(SourceSaid(0, (RouteIs(b"yes", route),), synced=True))
    wait_until(lambda: recorder.syncs)
    assert recorder.state.keys() == {RouteKey(b"yes"), BackendKey(b"web", b"1")}
