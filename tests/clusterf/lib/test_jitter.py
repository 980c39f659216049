import random

from clusterf.lib.jitter import jittered, share, shuffled


def test_jitter_is_at_most_a_fifth():
    delays = [jittered(10.0) for _ in range(1000)]
    assert 8.0 <= min(delays) < 8.5
    assert 11.5 < max(delays) <= 12.0


def test_share_is_between_zero_and_one():
    shares = [share() for _ in range(1000)]
    assert 0.0 <= min(shares) < 0.1
    assert 0.9 < max(shares) < 1.0


def test_shuffled_has_the_same_items():
    assert sorted(shuffled(range(100))) == list(range(100))
    assert len({tuple(shuffled("abc")) for _ in range(200)}) == 6


def test_global_random_state_is_untouched():
    before = random.getstate()
    jittered(1.0)
    share()
    shuffled("abc")
    assert random.getstate() == before
