import pytest

from clusterf.director.departures import Departure, Departures
from clusterf.director.merger import Origin
from clusterf.reconcile.kept_record import NONE_KEPT, Kept
from tests.clusterf.support.reconciling import DNS, ONE, TWO, WEB

WEB_BY_A, WEB_BY_B, DNS_BY_A = Origin(b"web", "a"), Origin(b"web", "b"), Origin(b"dns", "a")
FOUND = Origin(None)


@pytest.fixture
def departures():
    return Departures()


def test_nothing_leaves_at_first(departures):
    assert not departures
    assert not departures.one_cause


def test_weights_are_counted_until_the_real_servers_stay(departures):
    departures.add_real(WEB, ONE, Departure(WEB_BY_A, 0.0, 10))
    departures.add_real(WEB, TWO, Departure(WEB_BY_A, 0.0, 0))
    departures.add_real(WEB, ONE, Departure(DNS_BY_A, 0.0, 99))  # it is about to
    assert (departures.weight, departures.weighted) == (10, 1)
    departures.discard_real(WEB, ONE)
    departures.discard_real(DNS, ONE)
    assert (departures.weight, departures.weighted) == (0, 0)
    assert departures
    departures.discard_real(WEB, TWO)
    assert not departures


@pytest.mark.parametrize(
    ("first", "second", "one"),
    [
        (WEB_BY_A, WEB_BY_A, True),
        (WEB_BY_A, WEB_BY_B, True),
        (WEB_BY_A, DNS_BY_A, True),
        (WEB_BY_B, DNS_BY_A, False),
        (Origin(b"web"), Origin(b"dns"), False),
        (Origin(None), Origin(None), False),
        (WEB_BY_A, Origin(None), False),
    ],
)
def test_cause_is_one_service_or_one_publisher(departures, first, second, one):
    departures.add_real(WEB, ONE, Departure(first, 0.0, 10))
    departures.add_real(DNS, TWO, Departure(second, 0.0, 10))
    assert departures.one_cause is one
    departures.discard_real(DNS, TWO)
    assert departures.one_cause is (first.service is not None)


def test_least_weight_counts(departures):
    departures.add_real(WEB, ONE, Departure(WEB_BY_A, 0.0, 1))
    assert (departures.weight, departures.weighted) == (1, 1)


@pytest.mark.parametrize("how", ["stay", "are taken"])
def test_cause_of_what_no_longer_leaves_is_forgotten(departures, how):
    departures.add_real(WEB, ONE, Departure(WEB_BY_A, 0.0, 10))
    departures.add_real(WEB, TWO, Departure(WEB_BY_A, 0.0, 10))
    if how == "stay":
        departures.discard_real(WEB, ONE)
        departures.discard_real(WEB, TWO)
    else:
        departures.take()
    assert not departures.one_cause
    departures.add_real(DNS, ONE, Departure(Origin(b"dns", "b"), 0.0, 10))
    assert departures.one_cause
    departures.add_real(DNS, TWO, Departure(Origin(b"api", "b"), 0.0, 10))
    assert departures.one_cause  # by publisher


def test_cause_is_one_of_all_that_leaves_when_part_of_it_stays(departures):
    departures.add_real(WEB, ONE, Departure(WEB_BY_A, 0.0, 10))
    departures.add_real(WEB, TWO, Departure(WEB_BY_A, 0.0, 10))
    departures.discard_real(WEB, ONE)
    departures.add_real(DNS, ONE, Departure(Origin(b"dns", "c"), 0.0, 10))
    assert not departures.one_cause
    departures.discard_real(WEB, TWO)
    assert departures.one_cause


def test_virtual_server_has_a_cause_too(departures):
    departures.add_virtual(WEB, Departure(Origin(b"web"), 0.0))
    departures.add_virtual(WEB, Departure(Origin(b"web"), 0.0))
    assert departures.one_cause
    departures.add_real(DNS, ONE, Departure(DNS_BY_A, 0.0, 1))
    assert not departures.one_cause
    departures.discard_virtual(WEB)
    departures.discard_virtual(WEB)
    assert departures.one_cause


def test_real_servers_are_taken_without_those_whose_virtual_server_leaves(departures):
    departures.add_virtual(WEB, Departure(Origin(b"web"), 0.0))
    departures.add_real(WEB, ONE, Departure(WEB_BY_A, 0.0, 1))
    departures.add_real(DNS, TWO, Departure(DNS_BY_A, 0.0, 1))
    assert departures.take() == ([WEB], [(DNS, TWO)])
    assert not departures
    assert (departures.weight, departures.weighted, departures.one_cause) == (0, 0, False)


def test_what_was_to_leave_by_a_moment_is_taken_alone(departures):
    departures.add_virtual(WEB, Departure(Origin(b"web"), 1.0))
    departures.add_real(WEB, ONE, Departure(WEB_BY_A, 1.0, 1))
    departures.add_virtual(DNS, Departure(Origin(b"dns"), 1.1))
    departures.add_real(DNS, ONE, Departure(DNS_BY_A, 0.5, 3))
    departures.add_real(DNS, TWO, Departure(DNS_BY_A, 1.1, 5))
    assert departures.take(1.0) == ([WEB], [(DNS, ONE)])
    assert departures.weight == 5
    assert departures.take(1.0) == ([], [])
    assert departures.take(1.1) == ([DNS], [])
    assert not departures


def test_what_was_found_with_weight_stays_apart_while_there_are_doubts(departures):
    departures.doubt("tree", "values are invalid")
    departures.add_virtual(DNS, Departure(FOUND, 0.0))
    departures.add_virtual(DNS, Departure(FOUND, 0.0))
    departures.add_real(WEB, ONE, Departure(FOUND, 0.0, 10))
    departures.add_real(WEB, TWO, Departure(FOUND, 0.0, 1))
    departures.add_real(DNS, ONE, Departure(FOUND, 0.0, 0))
    departures.add_real(DNS, TWO, Departure(DNS_BY_A, 0.0, 1))
    assert departures.kept == Kept({"tree: values are invalid"}, {(DNS, None), (WEB, ONE), (WEB, TWO)})
    assert (departures.weight, departures.virtuals) == (1, {})
    departures.discard_real(WEB, TWO)
    assert departures.take() == ([], [(DNS, ONE), (DNS, TWO)])
    departures.release_kept(7.0)
    assert not departures.kept.servers
    assert departures.kept.doubts, "they were considered"
    assert departures.take(6.9) == ([], [])
    assert departures.weight == 10
    assert departures.take(7.0) == ([DNS], [(WEB, ONE)])
    departures.add_real(WEB, ONE, Departure(FOUND, 0.0, 10))
    assert departures, "that has ended"
    departures.doubt("tree", None)
    assert departures.kept == NONE_KEPT


@pytest.mark.parametrize("how", ["is wanted", "leaves with its service"])
def test_what_was_kept_and_is_decided_is_kept_no_longer(departures, how):
    departures.doubt("tree", "values are invalid")
    departures.add_virtual(WEB, Departure(FOUND, 0.0))
    departures.add_real(WEB, ONE, Departure(FOUND, 0.0, 10))
    if how == "is wanted":
        departures.discard_virtual(WEB)
        departures.discard_real(WEB, ONE)
    else:
        departures.add_virtual(WEB, Departure(Origin(b"web"), 1.0))
        departures.add_real(WEB, ONE, Departure(Origin(b"web"), 1.0, 10))
        assert departures.take() == ([WEB], [])
    assert not departures.kept.servers
    departures.release_kept(2.0)
    assert not departures


@pytest.mark.parametrize("doubt", ["the same", "another"])
def test_only_what_was_kept_before_is_kept_again_for_the_same_doubts(departures, doubt):
    departures.doubt("tree", "the same")
    departures.doubt("etcd", doubt)
    departures.resume(Kept({"tree: the same", "etcd: the same", "etcd: an old one"}, {(WEB, ONE)}))
    departures.add_virtual(DNS, Departure(FOUND, 0.0))
    departures.add_real(WEB, ONE, Departure(FOUND, 0.0, 10))
    departures.add_real(WEB, TWO, Departure(FOUND, 0.0, 10))
    departures.decided()
    departures.add_real(DNS, TWO, Departure(FOUND, 0.0, 10))
    again = {(WEB, ONE)} if doubt == "the same" else {(DNS, None), (WEB, ONE), (WEB, TWO)}
    assert departures.kept.servers == again


@pytest.mark.parametrize("first", ["none", "another"])
def test_doubt_that_arises_later_is_decided_on_at_the_next_start(departures, first):
    if first == "another":
        departures.doubt("tree", "another")
    departures.doubt("etcd", "the same")
    departures.decided()
    departures.doubt("tree", "it went away")
    before = departures.kept
    assert before == Kept({"etcd: the same"})
    then = Departures()
    then.doubt("etcd", "the same")
    then.doubt("tree", "it went away")
    then.resume(before)
    then.add_real(WEB, ONE, Departure(FOUND, 0.0, 10))
    assert then.kept.servers == {(WEB, ONE)}


def test_doubt_that_has_ended_is_decided_on_anew_if_it_comes_back(departures):
    departures.doubt("tree", "it is away")
    departures.decided()
    departures.doubt("tree", "it is away")
    assert departures.kept.doubts == {"tree: it is away"}
    departures.doubt("tree", None)
    departures.doubt("tree", "it is away")
    assert departures.kept == NONE_KEPT
