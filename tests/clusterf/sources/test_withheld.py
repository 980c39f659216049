import pytest

from clusterf.config.model import BackendKey
from clusterf.sources.withheld import Withheld

A, B = BackendKey(b"web", b"a"), BackendKey(b"web", b"b")


@pytest.fixture
def withheld():
    return Withheld()


def test_deletions_wait_only_while_the_source_is_in_doubt(withheld):
    assert not withheld.withholds(A, None)
    assert withheld.doubt(doubted=True) == []
    assert withheld.withholds(A, None)
    assert withheld.doubt(doubted=True) == [], "for another reason"
    assert withheld.doubt(doubted=False) == [A]
    assert not withheld.withholds(A, None)
    assert withheld.doubt(doubted=False) == []


def test_values_do_not_wait_and_withdraw_a_deletion(withheld):
    withheld.doubt(doubted=True)
    assert withheld.withholds(A, None)
    assert withheld.withholds(B, None)
    assert not withheld.withholds(A, object())
    assert withheld.doubt(doubted=False) == [B]
