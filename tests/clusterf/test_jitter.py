import random

from clusterf.jitter import jittered, shuffled


def test_a_fifth_less_or_more():
    delays = [jittered(10.0) for _ in range(1000)]
    assert 8.0 <= min(delays) < 8.5
    assert 11.5 < max(delays) <= 12.0


def test_shuffled_is_the_same_in_some_order():
    assert sorted(shuffled(range(100))) == list(range(100))
    assert len({tuple(shuffled("abc")) for _ in range(200)}) == 6


def test_nobody_elses_chance_is_touched():
    before = random.getstate()
    jittered(1.0)
    shuffled("abc")
    assert random.getstate() == before
