import pytest

from tests.shares import SHARE, own_share

TESTS = ["b1", "a1", "b2", "c1", "d1"]


@pytest.mark.parametrize(("share", "own"), [("1/2", ["a1", "c1"]), ("2/2", ["b1", "b2", "d1"]), ("1/1", TESTS)])
def test_modules_are_shared_in_turn_and_stay_whole(monkeypatch, share, own):
    monkeypatch.setenv(SHARE, share)
    assert own_share(TESTS, key=lambda test: test[0]) == own


def test_without_a_share_all_tests_are_own(monkeypatch):
    monkeypatch.delenv(SHARE, raising=False)
    assert own_share(TESTS, key=lambda test: test[0]) == TESTS
