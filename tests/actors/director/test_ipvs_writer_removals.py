import errno

from actors.base.messages import Reload
from clusterf.director.merger import RealServerWanted
from tests.actors.support.writing import TWELVE, gone, real, table, virtual
from tests.waiting import wait_until


def test_removals_are_written_at_once(writing, kernel):
    writing.start().want(**TWELVE).settled()
    writing.want(*gone(*range(1, 11)), RealServerWanted(virtual(11), real(1), None))
    wait_until(lambda: kernel.table == table(v11={}, v12={1: 1}))


def test_removal_by_a_verdict_is_written(writing, kernel):
    writing.start().want(**TWELVE).settled()
    writing.want(*(RealServerWanted(virtual(n), real(1), None) for n in range(1, 13)), urgent=True)
    wait_until(lambda: kernel.table == table(**{name: {} for name in TWELVE}))


def test_virtual_server_that_is_wanted_again_before_it_is_removed_is_not_written(writing, kernel):
    writing.start().want(**TWELVE).settled()
    steps = len(kernel.steps)
    writing.want(*gone(1), v1={1: 1}).settled()
    assert kernel.table == table(**TWELVE)
    assert len(kernel.steps) == steps


def test_virtual_server_that_the_kernel_refused_need_not_be_removed(writing, kernel, caplog):
    kernel.refused[virtual(13)] = errno.EINVAL
    writing.start().want(v1={1: 1}, v13={1: 1})
    wait_until(lambda: "failed" in caplog.text)
    writing.want(*gone(13))
    writing.ref.tell(Reload())
    writing.settled()
    assert kernel.table == table(v1={1: 1})
    assert caplog.text.count("failed") == 1
