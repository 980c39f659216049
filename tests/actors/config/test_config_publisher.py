from math import inf

import msgspec
import pytest

from actors.base.messages import Ping, Upstream
from actors.config.config_publisher import ConfigPublisher
from actors.config.messages import AuthoritiesRead, FileNamed, SourceKnown, SourceUpdate
from actors.link.messages import AuthoritiesAre, AuthoritiesKey, DoubtIs, DoubtKey, ProblemsAre, ProblemsKey, ValueIs
from actors.link.publisher import Publisher
from clusterf.config.model import BackendKey, Frontend, FrontendKey, HealthCheck, HealthKey, RouteKey, Tls
from clusterf.config.problems import Problem
from clusterf.health.authorities import Authorities
from clusterf.sources.doubt import DoubtKind
from clusterf.sources.url import Source, parse_source
from tests.actors.support.director import backend, sources, value
from tests.actors.support.local_links import LocalLinks
from tests.actors.support.recorder import Recorder, subscribe
from tests.waiting import wait_until


def from_files(message):
    """Return how the value of a tree is published."""
    return msgspec.structs.replace(message, local=True)


@pytest.fixture
def links():
    return LocalLinks()


@pytest.fixture
def published(links, recorder_ref):
    """A publisher of two sources, whose messages go to the recorder."""
    ref = ConfigPublisher.start(sources(2), "file:///0", links)
    subscription = subscribe("config", links, recorder_ref)
    yield ref
    subscription.stop()


def test_configuration_is_synced_when_all_sources_are(published, recorder):
    published.tell(SourceUpdate(0, (backend(1),), synced=True))
    wait_until(lambda: recorder.state)
    assert not recorder.syncs
    published.tell(SourceUpdate(1, (), synced=True))
    wait_until(lambda: recorder.syncs)


def test_value_of_the_last_source_wins_and_the_earlier_one_returns_without_it(published, recorder):
    key = BackendKey(b"web", b"1")
    published.tell(SourceUpdate(1, (backend(2),), synced=True))
    published.tell(SourceUpdate(0, (backend(1),), synced=True))
    wait_until(lambda: recorder.syncs)
    assert recorder.state[key] == from_files(backend(2))
    published.tell(SourceUpdate(1, (ValueIs(BackendKey(b"web", b"1"), None),)))
    wait_until(lambda: recorder.state.get(key) == from_files(backend(1)))
    published.tell(SourceUpdate(0, (ValueIs(BackendKey(b"web", b"1"), None),)))
    wait_until(lambda: key not in recorder.state)


@pytest.mark.parametrize("single", [True, False])
def test_values_of_trees_are_published_as_local_as_long_as_no_value_of_etcd_wins(links, recorder_ref, single):
    recorder, key = recorder_ref._actor_weakref(), backend(1).key
    tree, etcd = Source("file:///0", tree="/0"), parse_source("etcd://10.0.0.1:2379/clusterf")
    ref = ConfigPublisher.start((etcd,) if single else (tree, etcd), "", links)
    subscription = subscribe("config", links, recorder_ref)
    try:
        if not single:
            ref.tell(SourceUpdate(0, (backend(1),), synced=True))
            wait_until(lambda: recorder.state.get(key) == from_files(backend(1)))
        ref.tell(SourceUpdate(0 if single else 1, (backend(1),), synced=True))
        wait_until(lambda: recorder.state.get(key) == backend(1))
        ref.tell(SourceUpdate(0 if single else 1, (ValueIs(key, None),)))
        wait_until(lambda: recorder.state.get(key) == (None if single else from_files(backend(1))))
    finally:
        subscription.stop()
        ref.stop()


def test_routes_are_accepted_from_the_selected_sources_only(published, recorder):
    route = value(b"routes/r", b'{"Prefix": "10.0.0.0/8"}')
    published.tell(SourceUpdate(1, (ValueIs(RouteKey(b"no"), route), backend(1)), synced=True))
    published.tell(SourceUpdate(0, (ValueIs(RouteKey(b"yes"), route),), synced=True))
    wait_until(lambda: recorder.syncs)
    assert recorder.state.keys() == {RouteKey(b"yes"), BackendKey(b"web", b"1")}


def test_what_is_set_and_deleted_in_one_update_is_deleted(published, recorder):
    frontend = ValueIs(FrontendKey(b"web"), Frontend(tcp=80))
    published.tell(SourceUpdate(0, (frontend, backend(1)), synced=True))
    published.tell(SourceUpdate(1, (), synced=True))
    wait_until(lambda: recorder.syncs)
    other = ValueIs(frontend.key, Frontend(tcp=81))
    published.tell(SourceUpdate(0, (other, ValueIs(frontend.key, None), ValueIs(backend(1).key, None))))
    wait_until(lambda: not recorder.state)


def test_problems_of_all_sources_are_published(published, recorder):
    problems = [
        ProblemsAre(ProblemsKey(f"file:///{n}", b"x"), (Problem(f"file:///{n}", b"x", "", "bad", fatal=True),))
        for n in range(2)
    ]
    for source, each in enumerate(problems):
        published.tell(SourceUpdate(source, (each,), synced=True))
    wait_until(lambda: recorder.syncs)
    assert list(recorder.state.values()) == problems


def test_doubt_about_a_source_is_published_and_withdrawn(published, recorder):
    key = DoubtKey("file:///0")
    published.tell(SourceUpdate(1, (), synced=True))
    published.tell(SourceUpdate(0, (DoubtIs(key, "another cluster"), backend(1)), synced=True))
    wait_until(lambda: recorder.syncs)
    assert recorder.state == {key: DoubtIs(key, "another cluster"), backend(1).key: from_files(backend(1))}
    published.tell(SourceUpdate(0, (DoubtIs(key, None),)))
    wait_until(lambda: key not in recorder.state)


def test_what_a_source_deletes_while_it_is_in_doubt_is_deleted_when_that_ends(published, recorder):
    key, passing = DoubtKey("file:///0"), DoubtKey("file:///0", DoubtKind.CHANGE)
    one, two, three = (backend(number) for number in (1, 2, 3))
    values = [ValueIs(BackendKey(b"web", b"%d" % number), each.value) for number, each in enumerate((one, two, three))]
    published.tell(SourceUpdate(1, (), synced=True))
    published.tell(SourceUpdate(0, (*values, DoubtIs(passing, "files are being written")), synced=True))
    wait_until(lambda: recorder.syncs)
    published.tell(SourceUpdate(0, (DoubtIs(key, "another cluster"), *(ValueIs(v.key, None) for v in values[:2]))))
    published.tell(SourceUpdate(1, (ValueIs(values[2].key, one.value),)))
    published.tell(SourceUpdate(1, (ValueIs(values[2].key, None),)))
    wait_until(lambda: recorder.state.get(key))
    assert all(recorder.state[each.key] == from_files(each) for each in values)
    published.tell(SourceUpdate(0, (values[1], DoubtIs(key, None))))
    wait_until(lambda: key not in recorder.state and values[0].key not in recorder.state)
    assert recorder.state.keys() == {values[1].key, values[2].key, passing}


def test_pulse_has_the_last_moment_of_which_all_sources_are_known(published, monkeypatch):
    pulses = []
    monkeypatch.setattr(Publisher, "pulse", lambda _, known: pulses.append(known))
    published.tell(SourceKnown(1, 5.0))
    published.tell(SourceKnown(0, 7.0))
    published.tell(SourceKnown(1, 6.0))
    published.ask(Ping(), timeout=10)
    assert pulses == [-inf, 5.0, 6.0]


def naming(service, path):
    return ValueIs(HealthKey(service), HealthCheck(type="https", tls=Tls(ca=path)))


def test_authorities_that_checks_name_are_asked_for_and_published_with_them(published, recorder):
    reader = Recorder.start()
    asked = reader._actor_weakref().messages
    published.tell(Upstream(reader))
    one, default, other = naming(b"web", "/ca"), naming(None, "/ca"), naming(b"web", "/other")
    published.tell(SourceUpdate(0, (one, default), synced=True))
    published.tell(SourceUpdate(1, (), synced=True))
    wait_until(lambda: recorder.syncs)
    # they come before what needs them, and are said to be about to be read
    about = AuthoritiesAre(AuthoritiesKey("/ca"), Authorities())
    assert [message.key for message in recorder.messages[:3]] == [about.key, one.key, default.key]
    assert recorder.messages[0] == about
    read = {"/ca": Authorities("pem"), "/unnamed": Authorities("pem")}
    published.tell(AuthoritiesRead(read))
    wait_until(lambda: recorder.state.get(about.key) == AuthoritiesAre(about.key, read["/ca"]))
    assert AuthoritiesKey("/unnamed") not in recorder.state
    # a later source hides one check, and the other one goes: the file is no longer named
    published.tell(SourceUpdate(1, (other,)))
    published.tell(SourceUpdate(0, (ValueIs(default.key, None),)))
    wait_until(lambda: about.key not in recorder.state)
    assert recorder.state[AuthoritiesKey("/other")].value == Authorities()
    wait_until(lambda: len(asked) == 3)
    assert asked == [FileNamed("/ca", True), FileNamed("/other", True), FileNamed("/ca", False)]
