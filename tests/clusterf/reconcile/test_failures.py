import errno

import pytest

from clusterf.ipvs.table import Op, Step, TableKey
from clusterf.reconcile.failures import Failures
from tests.clusterf.support.reconciling import DNS, ONE, TEN, TWO, WEB, WLC

ADD_WEB = Step(Op.ADD_VIRTUAL, WEB, None, WLC)
ADD_ONE, ADD_TWO = (Step(Op.ADD_REAL, WEB, real, TEN) for real in (ONE, TWO))


@pytest.fixture
def failures():
    return Failures()


@pytest.mark.parametrize("error", [errno.EEXIST, errno.ENOENT, errno.ESRCH])
def test_step_that_finds_another_table_makes_its_virtual_server_stale_twice(failures, error):
    for _ in range(2):
        failures.add(ADD_ONE, error)
        assert list(failures.stale) == [WEB]
        assert not failures
        failures.reread(WEB)
        assert not failures.stale
    failures.add(ADD_ONE, error)
    assert not failures.stale
    assert failures.waiting == {TableKey(WEB, ONE): error}


def test_refused_step_waits_for_a_retry(failures):
    failures.add(ADD_ONE, errno.ENOMEM)
    assert failures.waiting == {TableKey(WEB, ONE): errno.ENOMEM}
    assert failures
    assert len(failures) == 1
    assert WEB in failures
    assert DNS not in failures
    assert not failures.stale


def test_failure_of_a_real_server_is_a_consequence_of_its_virtual_server_failing(failures):
    failures.add(ADD_ONE, errno.ENOMEM)
    assert not failures.is_consequence(ADD_TWO)
    failures.add(ADD_WEB, errno.ENOMEM)
    assert failures.is_consequence(ADD_TWO)


def test_failure_in_a_stale_virtual_server_is_a_consequence(failures):
    failures.add(ADD_ONE, errno.EEXIST)
    assert failures.is_consequence(ADD_TWO)
    failures.reread(WEB)
    assert not failures.is_consequence(ADD_TWO)


def test_real_server_has_to_wait_with_its_virtual_server(failures):
    failures.postpone(TableKey(WEB, ONE))
    assert failures.has_to_wait(TableKey(WEB, ONE))
    assert not failures.has_to_wait(TableKey(WEB, TWO))
    failures.postpone(TableKey(WEB))
    assert failures.has_to_wait(TableKey(WEB, TWO))


def test_retry_takes_all_that_waits_and_allows_rereading_again(failures):
    for _ in range(2):
        failures.reread(WEB)
    failures.add(ADD_ONE, errno.EEXIST)
    failures.postpone(TableKey(DNS))
    assert failures.take() == [TableKey(WEB, ONE), TableKey(DNS)]
    assert not failures
    assert WEB not in failures
    failures.add(ADD_ONE, errno.EEXIST)
    assert list(failures.stale) == [WEB]


def test_nothing_fails_any_more_when_the_table_was_read(failures):
    failures.add(ADD_ONE, errno.EEXIST)
    failures.add(ADD_TWO, errno.ENOMEM)
    failures.clear()
    assert not failures.stale
    assert failures.take() == []
