from clusterf.lib.backoff import Backoff


def test_delays_double_up_to_the_longest():
    backoff = Backoff(initial=0.5, longest=30)
    delays = [backoff.next() for _ in range(10)]
    for delay, nominal in zip(delays, [0.5, 1, 2, 4, 8, 16, 30, 30, 30, 30], strict=True):
        assert nominal * 0.8 <= delay <= nominal * 1.2


def test_longest_delay_has_jitter():
    backoff = Backoff(initial=1, longest=5)
    assert len({backoff.next() for _ in range(50)}) == 50


def test_reset_starts_over():
    backoff = Backoff(initial=0.1, longest=100)
    for _ in range(8):
        backoff.next()
    assert backoff.tries == 8
    backoff.reset()
    assert backoff.tries == 0
    assert backoff.next() <= 0.12


def test_delay_stays_finite_after_a_million_attempts():
    backoff = Backoff(initial=0.1, longest=5)
    backoff.tries = 1_000_000
    assert 4 <= backoff.next() <= 6
