"""The judge finds what is planted, and accepts what is explained."""

import pytest

from tests.soak.history import Busy
from tests.soak.judge import DETECTION, explanations, judge
from tests.soak.support import ONE, REALS, WEB, Story

FOREIGN = "10.200.0.1:8000/tcp"
TWO, THREE = REALS[1:3]
ALL = dict.fromkeys(REALS[:3], 10)


@pytest.fixture
def story():
    """A virtual server with three real servers, all of which are in force from second 2 on."""
    story = Story()
    story.wants(1, ALL)
    story.shows(2, ALL)
    return story


def kinds(story):
    return [violation.kind for violation in judge(story.history)]


def test_nothing_is_wrong_with_a_table_that_stays_as_it_is_wanted(story):
    assert judge(story.history) == []


@pytest.mark.parametrize("after", [{**ALL, ONE: 0}, {TWO: 10, THREE: 10}])
def test_weight_that_a_wanted_working_real_server_loses_is_found(story, after):
    story.shows(50, after)
    assert kinds(story) == ["lost weight"]


def test_virtual_server_that_goes_while_it_is_wanted_is_found(story):
    story.shows(50, None)
    assert sorted(kinds(story)) == ["lost weight"] * 3 + ["pool emptied"]


def test_weight_that_is_lost_for_one_sample_is_found(story):
    story.shows(50, {**ALL, ONE: 0})
    story.shows(50.01, ALL)
    assert kinds(story) == ["lost weight"]


def test_loss_by_a_fault_is_found(story):
    story.fault(49, 50)
    story.shows(50, {**ALL, ONE: 0})
    assert kinds(story) == ["lost weight"]


def test_removed_real_server_loses_its_weight(story):
    story.wants(50, {TWO: 10, THREE: 10})
    story.shows(50.2, {**ALL, ONE: 0})
    story.shows(52, {TWO: 10, THREE: 10})
    assert judge(story.history) == []


def test_real_server_that_was_removed_and_added_again_may_not_lose_its_weight_later(story):
    story.wants(50, {TWO: 10, THREE: 10})
    story.wants(51, ALL)
    story.shows(60, {**ALL, ONE: 0})
    assert kinds(story) == ["lost weight"]


def test_edit_that_a_fault_delays_explains_a_loss_after_it(story):
    story.fault(49, 58)
    story.wants(50, {TWO: 10, THREE: 10})
    story.wants(51, ALL)
    story.shows(58.5, {**ALL, ONE: 0})
    story.shows(58.6, ALL)
    assert judge(story.history) == []


def test_edit_explains_no_second_loss(story):
    story.fault(49, 58)
    story.wants(50, {TWO: 10, THREE: 10})
    story.shows(50.2, {**ALL, ONE: 0})
    story.wants(51, ALL)
    story.shows(51.2, ALL)
    story.shows(52, {**ALL, ONE: 0})
    assert kinds(story) == ["lost weight"]


def test_edit_before_a_calm_explains_no_loss_after_it(story):
    story.fault(49, 58)
    story.wants(50, {TWO: 10, THREE: 10})
    story.wants(51, ALL)
    story.calm(60)
    story.shows(61, {**ALL, ONE: 0})
    assert kinds(story) == ["lost weight"]


def test_failing_backend_loses_its_weight_and_gets_it_back_when_it_works(story):
    story.health(50, ONE, "gone")
    story.shows(53, {**ALL, ONE: 0})
    story.health(60, ONE, "healthy")
    story.shows(62, ALL)
    assert judge(story.history) == []


def test_failing_backend_that_keeps_its_weight_is_found(story):
    story.health(50, ONE, "gone")
    [violation] = judge(story.history)
    assert violation.kind == "failed backend keeps weight"
    assert violation.time == pytest.approx(50 + DETECTION, abs=0.1)


def test_failing_backend_may_keep_its_weight_while_faults_delay_the_node(story):
    story.health(50, ONE, "gone")
    story.fault(49, 58)
    story.shows(75, {**ALL, ONE: 0})
    assert judge(story.history) == []


def test_failing_backend_that_gets_weight_is_found(story):
    story.health(50, ONE, "failing")
    story.shows(53, {**ALL, ONE: 0})
    story.fault(69, 70)
    story.shows(70, ALL)
    story.shows(70.1, {**ALL, ONE: 0})
    assert kinds(story) == ["failed backend has weight again"]


def test_weight_that_a_backend_loses_after_it_works_again_is_found(story):
    story.health(50, ONE, "failing")
    story.shows(53, {**ALL, ONE: 0})
    story.health(60, ONE, "healthy")
    story.shows(62, ALL)
    story.shows(63, {**ALL, ONE: 0})
    assert kinds(story) == ["lost weight"]


def test_pool_that_is_emptied_before_its_successors_have_weight_is_found(story):
    story.wants(50, {REALS[3]: 10})
    story.shows(50.2, {REALS[3]: 0})
    story.shows(53, {REALS[3]: 10})
    assert kinds(story) == ["pool emptied"]


def test_pool_that_is_replaced_in_time_is_right(story):
    story.wants(50, {REALS[3]: 10})
    story.shows(50.2, {**ALL, REALS[3]: 0})
    story.shows(53, {**ALL, REALS[3]: 10})
    story.shows(53.1, {REALS[3]: 10})
    assert judge(story.history) == []


def test_pool_that_is_emptied_by_its_operator_is_right(story):
    story.wants(50, {})
    story.shows(50.2, {})
    assert judge(story.history) == []


@pytest.mark.parametrize("after", [{ONE: 0, TWO: 10}, {TWO: 10}])
@pytest.mark.parametrize(("recovered", "known"), [(48.0, False), (30.0, True)])
def test_last_weight_that_its_operator_takes_is_gone_before_the_node_can_know_who_has_recovered(
    story, after, recovered, known
):
    story.wants(10, {ONE: 10, TWO: 10})
    story.shows(10.2, {ONE: 10, TWO: 10})
    story.health(20, TWO, "failing")
    story.shows(22, {ONE: 10, TWO: 0})
    story.health(recovered, TWO, "healthy")
    story.fault(45, 50, "stall of the machine")
    story.wants(49, after)
    story.shows(50.2, {ONE: 0, TWO: 0})
    story.shows(52, {ONE: 0, TWO: 10})
    assert kinds(story) == ["pool emptied"] * known


def test_pool_whose_successor_has_only_just_recovered_is_not_emptied(story):
    story.health(20, REALS[3], "failing")
    story.health(48, REALS[3], "healthy")
    story.fault(45, 50, "stall of the machine")
    story.wants(49, {REALS[3]: 10})
    story.shows(50.2, {REALS[3]: 0})
    story.shows(52, {REALS[3]: 10})
    assert kinds(story) == ["pool emptied"]


def test_pool_that_loses_a_wanted_real_server_while_another_one_has_only_just_recovered_is_emptied(story):
    story.wants(10, {ONE: 10, TWO: 10})
    story.shows(10.2, {ONE: 10, TWO: 10})
    story.health(20, TWO, "failing")
    story.shows(22, {ONE: 10, TWO: 0})
    story.health(48, TWO, "healthy")
    story.shows(50.2, {ONE: 0, TWO: 0})
    assert kinds(story) == ["lost weight", "pool emptied"]


def test_pool_all_of_which_fails_is_emptied(story):
    for real in ALL:
        story.health(50, real, "gone")
    story.shows(53, dict.fromkeys(ALL, 0))
    assert judge(story.history) == []


def test_change_of_a_virtual_server_of_others_is_found(story):
    story.act(10, "foreign", FOREIGN, "wlc 10.201.0.1:8000=5/")
    story.shows(10.005, {"10.201.0.1:8000": 5}, FOREIGN)
    assert judge(story.history) == []
    story.shows(50, None, FOREIGN)
    assert kinds(story) == ["foreign touched"]


def test_unknown_virtual_server_is_found(story):
    story.shows(50, {}, "10.107.0.9:80/tcp")
    assert kinds(story) == ["foreign touched"]


def test_change_by_hand_explains_a_loss_until_it_is_repaired(story):
    story.act(50, "hand", WEB)
    story.shows(50.005, {**ALL, ONE: 0})
    story.shows(55, ALL)
    story.request(51, 52)
    assert judge(story.history) == []
    story.shows(80, {**ALL, ONE: 0})
    assert kinds(story) == ["lost weight"]


def test_failed_request_without_a_reason_is_found(story):
    story.request(50, 55)
    assert kinds(story) == ["failed request"]


def test_failed_request_is_explained_by_a_backend_that_failed_with_its_weight(story):
    story.health(50, ONE, "hanging")
    story.request(51, 56)
    story.shows(54, {**ALL, ONE: 0})
    assert judge(story.history) == []
    story.request(55, 60)
    assert kinds(story) == ["failed request"]


def test_failed_request_at_a_pool_that_was_emptied_wrongly_is_found(story):
    story.wants(50, {REALS[3]: 10})
    story.shows(50.2, {REALS[3]: 0})
    story.request(51, 51.1)
    assert kinds(story) == ["pool emptied", "failed request"]
    assert explanations(story.history) == {"met an empty pool that had to have a backend": 1}


@pytest.mark.parametrize(("recovered", "explained"), [(49.5, True), (30.0, False)])
def test_failed_request_at_an_empty_pool_is_explained_by_a_backend_that_had_only_just_recovered(
    story, recovered, explained
):
    story.health(20, ONE, "failing")
    for real in (TWO, THREE):
        story.health(50, real, "failing")
    story.shows(22, {TWO: 10, THREE: 10})
    story.health(recovered, ONE, "healthy")
    story.shows(50.5, {})
    story.request(51, 51.1)
    story.shows(52, {ONE: 10})
    assert ("no backend worked, or none was wanted" in explanations(story.history)) is explained


def test_failed_request_at_an_empty_pool_is_explained_when_nothing_is_wanted_in_it(story):
    story.wants(50, {})
    story.shows(50.2, {})
    story.request(51, 51.1)
    assert judge(story.history) == []


def test_failed_request_is_explained_by_a_real_server_that_is_being_removed(story):
    story.wants(50, {TWO: 10, THREE: 10})
    story.request(50.1, 55)
    story.shows(50.2, {TWO: 10, THREE: 10})
    assert judge(story.history) == []


@pytest.mark.parametrize("kind", ["exact", "silent"])
def test_calm_in_which_something_is_wrong_is_found(story, kind):
    story.calm(50, "written", kind)
    assert kinds(story) == [f"not {kind}"]


def test_node_that_ends_by_itself_is_found_unless_it_gave_up(story):
    story.act(50, "exit", "1", "gave up")
    assert judge(story.history) == []
    story.act(60, "exit", "2", "Usage: …")
    assert kinds(story) == ["exit"]


def test_real_server_of_a_gateway_fails_when_all_of_its_backends_fail(story):
    gateway = "10.4.0.1:80"
    story.wants(50, {gateway: 30})
    configuration = story.history.configurations[-1]
    configuration.backends[WEB][gateway] = frozenset(real.rpartition(":")[0] for real in ALL)
    story.shows(50.2, {gateway: 30})
    story.health(60, ONE, "gone")
    story.shows(63, {gateway: 0})
    assert kinds(story) == ["lost weight", "pool emptied"]
    story.health(60, TWO, "gone")
    story.health(60, THREE, "gone")
    assert judge(story.history) == []


def test_starved_servers_and_clients_explain_what_they_cause(story):
    story.history.busy += [Busy(50, 51, "servers"), Busy(60, 61, "clients")]
    story.shows(53, {**ALL, ONE: 0})
    story.shows(55, ALL)
    story.request(50.5, 50.6)
    story.request(59, 64)
    assert judge(story.history) == []
    story.request(70, 75)
    assert kinds(story) == ["failed request"]


def test_busy_kernel_delays_but_excuses_nothing(story):
    story.history.busy.append(Busy(50, 51, "kernel"))
    story.shows(50.5, {**ALL, ONE: 0})
    assert kinds(story) == ["lost weight"]
