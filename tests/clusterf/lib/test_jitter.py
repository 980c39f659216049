import random

from clusterf.lib.jitter import jittered, share, shuffled


def test_a_fifth_less_or_more():
    delays = [jittered(10.0) for _ in range(1000)]
    assert 8.0 <= min(delays) < 8.5
    assert 11.5 < max(delays) <= 12.0


def test_a_share_is_any_number_below_one():
    shares = [share() for _ in range(1000)]
    assert 0.0 <= min(shares) < 0.1
    assert 0.9 < max(shares) < 1.0


def test_shuffled_is_the_same_in_some_order():
    assert sorted(shuffled(range(100))) == list(range(100))
    assert len({tuple(shuffled("abc")) for _ in range(200)}) == 6


def test_nobody_elses_chance_is_touched():
    before = random.getstate()
    jittered(1.0)
    share()
    shuffled("abc")
    assert random.getstate() == before
