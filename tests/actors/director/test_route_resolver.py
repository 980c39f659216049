from actors.base.messages import Ping
from actors.config.messages import SourceUpdate
from actors.link.messages import DoubtIs, DoubtKey, ProblemsAre, ProblemsKey
from clusterf.config.problems import Problem, ProblemsOf
from clusterf.director.merger import RealServerWanted, VirtualServerWanted
from tests.actors.support.director import FRONTEND, RIVAL, backend, items, updates
from tests.waiting import wait_until


def test_configuration_becomes_wanted_servers(chain, recorder):
    chain.tell(SourceUpdate(0, (FRONTEND, backend(7))))
    wait_until(lambda: len(items(recorder)) >= 2)
    first, second = items(recorder)
    assert isinstance(first, VirtualServerWanted)
    assert isinstance(second, RealServerWanted)
    assert second.settings.weight == 7
    assert not any(update.synced for update in updates(recorder))
    chain.tell(SourceUpdate(0, (), synced=True))
    wait_until(lambda: updates(recorder)[-1].synced)


def test_only_changes_are_passed_on(chain, recorder):
    chain.tell(SourceUpdate(0, (FRONTEND, backend(7)), synced=True))
    wait_until(lambda: len(items(recorder)) == 2)
    chain.tell(SourceUpdate(0, (backend(8),)))
    wait_until(lambda: len(items(recorder)) == 3)
    assert items(recorder)[-1].settings.weight == 8


def test_problems_are_passed_on_and_logged_once(chain, recorder, caplog):
    problem = Problem("s", b"services/x/frontend", "", "bad", fatal=True)
    published = ProblemsAre(ProblemsKey("s", b"services/x/frontend"), (problem,))
    chain.tell(SourceUpdate(0, (FRONTEND, RIVAL, published), synced=True))
    wait_until(lambda: len([item for item in items(recorder) if isinstance(item, ProblemsOf)]) == 2)
    assert ProblemsOf(published.key, (problem,)) in items(recorder)
    assert caplog.text.count("belongs to service web") == 1
    assert "bad" not in caplog.text


def test_actor_whose_receiver_has_stopped_does_not_fail(chain, recorder_ref, caplog):
    recorder_ref.stop()
    chain.tell(SourceUpdate(0, (FRONTEND,), synced=True))
    chain.ask(Ping(), timeout=10)
    assert "failed" not in caplog.text
    assert chain.is_alive()


def test_doubt_about_a_source_hides_no_value(chain, recorder):
    doubt = DoubtIs(DoubtKey("s"), "another cluster")
    chain.tell(SourceUpdate(0, (doubt, FRONTEND, backend(7)), synced=True))
    wait_until(lambda: len(items(recorder)) == 2)
