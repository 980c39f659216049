from clusterf.leases.put_backs import CALM, PutBacks


def test_first_time_is_at_once_and_each_further_one_later_up_to_the_longest():
    put_backs = PutBacks(longest=1.0)
    delays = [put_backs.delay(b"a", now) for now in range(10)]
    assert delays[0] == 0
    assert 0.08 <= delays[1] <= 0.12
    assert delays[1] < delays[2] < delays[3]
    assert all(0.8 <= delay <= 1.2 for delay in delays[5:])
    assert put_backs.delay(b"b", 10) == 0


def test_all_is_as_the_first_time_after_a_calm():
    put_backs = PutBacks(longest=1.0)
    assert [put_backs.delay(b"a", now) > 0 for now in (0, 1, 2, 3 + CALM)] == [False, True, True, False]


def test_keys_without_trouble_are_forgotten(monkeypatch):
    monkeypatch.setattr("clusterf.leases.put_backs.MANY", 10)
    put_backs = PutBacks(longest=1.0)
    for number in range(100):
        put_backs.delay(b"%d" % number, number * CALM)
    assert len(put_backs._last) <= 10
