import pytest

from clusterf.director.pools import PanicMode, Pools, Probe
from clusterf.lib.addresses import Family
from tests.clusterf.support.director import at
from tests.clusterf.support.left_behind import left_behind

WEB, ONE, TWO, V4, V6 = b"web", b"1", b"2", Family.IPV4, Family.IPV6


@pytest.fixture
def pools():
    pools = Pools()
    for name, number in ((ONE, 1), (TWO, 2)):
        pools.aim(WEB, V4, name, at(number))
    return pools


def judged(pools, threshold=60.0):
    return list(pools.judge(lambda _: threshold))


def test_probes_are_found_by_service_family_and_backend(pools):
    assert pools.probe(WEB, V4, ONE) == Probe(at(1), None)
    assert pools.probe(WEB, V6, ONE) is None
    assert pools.probe(b"other", V4, ONE) is None
    assert list(pools.probed(WEB)) == [ONE, TWO]
    assert pools.unknown == 2
    assert list(pools.undecided()) == [(WEB, ONE, at(1)), (WEB, TWO, at(2))]


def test_verdict_tells_whether_it_changes_a_probe(pools):
    assert pools.put_verdict(WEB, ONE, at(1), True)
    assert not pools.put_verdict(WEB, ONE, at(1), True)
    assert not pools.put_verdict(WEB, ONE, at(9), False), "its backend has no such endpoint"
    assert pools.probe(WEB, V4, ONE) == Probe(at(1), True)
    assert pools.unknown == 1


def test_verdict_on_an_endpoint_that_comes_later_is_kept_until_it_is_revoked(pools):
    pools.put_verdict(WEB, ONE, at(9), False)
    pools.aim(WEB, V4, ONE, at(9))
    assert pools.probe(WEB, V4, ONE) == Probe(at(9), False)
    pools.aim(WEB, V4, ONE, at(1))
    pools.put_verdict(WEB, ONE, at(9), None)
    pools.aim(WEB, V4, ONE, at(9))
    assert pools.probe(WEB, V4, ONE) == Probe(at(9), None)


def test_panic_begins_and_ends_with_the_share_that_is_up(pools):
    assert judged(pools) == []
    pools.put_verdict(WEB, ONE, at(1), False)
    assert judged(pools) == [(PanicMode(WEB, V4, True, 1, 2, 60.0), [ONE])]
    assert pools.panics(WEB, V4)
    assert not pools.panics(WEB, V6)
    assert judged(pools) == [], "it is judged when something changes"
    pools.recount(WEB)
    assert judged(pools, 50.0) == [(PanicMode(WEB, V4, False, 1, 2, 50.0), [ONE])]


@pytest.mark.parametrize(("threshold", "panics"), [(50.0, False), (50.2, True)])
def test_fraction_of_a_percent_decides(pools, threshold, panics):
    pools.put_verdict(WEB, ONE, at(1), False)
    judged(pools, threshold)
    assert pools.panics(WEB, V4) is panics


def test_nothing_is_kept_of_backends_that_are_not_probed(pools):
    for name in (ONE, TWO):
        pools.aim(WEB, V4, name, None)
    assert judged(pools) == []
    assert left_behind(pools) == {}


def test_refused_probe_has_no_verdict_but_is_not_awaited(pools):
    assert pools.put_verdict(WEB, ONE, at(1), None, refused=True)
    assert not pools.put_verdict(WEB, ONE, at(1), None, refused=True)
    assert pools.unknown == 1
    assert set(pools.undecided()) == {(WEB, ONE, at(1)), (WEB, TWO, at(2))}
    assert list(pools.undecided(refused=False)) == [(WEB, TWO, at(2))]
    assert pools.put_verdict(WEB, ONE, at(1), None)
    assert pools.unknown == 2


def test_refusal_of_an_endpoint_that_comes_later_is_kept(pools):
    pools.put_verdict(WEB, ONE, at(9), None, refused=True)
    pools.aim(WEB, V4, ONE, at(9))
    assert pools.probe(WEB, V4, ONE) == Probe(at(9), None, refused=True)
    pools.aim(WEB, V4, ONE, at(1))
    assert pools.unknown == 2
    pools.aim(WEB, V4, ONE, at(9))
    assert pools.unknown == 1
