import errno
import sys
from ipaddress import ip_address, ip_network

import pytest

from actors.base.messages import Confirm, Ping, Reload, Upstream
from actors.base.process import Host
from actors.director import ipvs_writer, table_reader
from actors.director.ipvs_writer import IpvsWriter, Options
from actors.director.messages import Credit, MergedUpdate, RemovalBegun
from clusterf.config.problems import Problem, ProblemsOf
from clusterf.director.merger import RealServerWanted, VirtualServerWanted
from clusterf.ipvs.table import (
    Method,
    Op,
    RealServer,
    RealServerSettings,
    ServiceFlag,
    VirtualServer,
    VirtualServerSettings,
    VirtualServerSpec,
    table_of,
)
from clusterf.lib.addresses import Family, Protocol
from clusterf.lib.store import Store
from clusterf.reconcile.companions import Companions
from clusterf.reconcile.ownership import Ownership
from tests.actors.support.between import between_messages
from tests.actors.support.fake_kernel import FakeKernel
from tests.actors.support.recorder import Recorder
from tests.waiting import wait_until

WLC = VirtualServerSettings("wlc", ServiceFlag(0), 0, 0xFFFFFFFF)
BAD = ProblemsOf("web", (Problem("s", b"p", "f", "bad", fatal=True),))
WARNED = ProblemsOf("web", (Problem("s", b"p", "f", "odd", fatal=False),))


def virtual(number):
    return VirtualServer(Family.IPV4, Protocol.TCP, ip_address(f"10.1.1.{number}"), 80)


def real(number):
    return RealServer(ip_address(f"10.2.2.{number}"), 80)


def weighing(weight):
    return RealServerSettings(Method.MASQ, weight)


def table(**reals):
    """Return a table of virtual servers v1, v2…, each with its real servers' weights by number."""
    rows = [
        (virtual(int(name[1:])), WLC, {real(number): weighing(weight) for number, weight in weights.items()})
        for name, weights in reals.items()
    ]
    return table_of(rows)


def wanted(**reals):
    """Return the messages that want such a table."""
    items = []
    for name, weights in reals.items():
        items.append(VirtualServerWanted(virtual(int(name[1:])), VirtualServerSpec(WLC, 30.0)))
        items += [RealServerWanted(virtual(int(name[1:])), real(n), w and weighing(w)) for n, w in weights.items()]
    return items


class Writing:
    """A writer on a fake kernel, and what became of both."""

    def __init__(self, kernel, path):
        self.kernel = kernel
        self.path = path
        self.finished = []
        self.flushed = 0
        # what the writer has told upstream
        self.upstream = Recorder.start()
        self.ref = None

    def start(self, *, follower=None, **options):
        def count_flush():
            self.flushed += 1

        self.ref = IpvsWriter.start(
            self.kernel,
            Ownership(Store(self.path)),
            Companions(follower=follower, noop=options.get("noop", False)),
            Options(**options),
            Host(self.finished.append, count_flush),
        )
        self.actor = self.ref._actor_weakref()
        self.ref.tell(Upstream(self.upstream))
        return self

    @property
    def told(self):
        """What the writer has told upstream so far."""
        self.ref.ask(Ping(), timeout=10)
        self.upstream.ask(Ping(), timeout=10)
        return [message for message in self.upstream._actor_weakref().messages if not isinstance(message, Ping)]

    @property
    def departed(self):
        """The virtual servers of which the writer has told that their removal has begun."""
        return [v for message in self.told if isinstance(message, RemovalBegun) for v in message.virtuals]

    def want(self, *items, synced=True, urgent=False, **reals):
        self.ref.tell(MergedUpdate((*items, *wanted(**reals)), synced, "config", urgent))
        return self

    def settled(self):
        """Wait until everything that was told has been seen to."""

        def is_settled():
            return between_messages(self.ref, lambda: self.actor._reconciler.idle and not self.actor._due & BUSY)

        wait_until(is_settled)
        return self


BUSY = {ipvs_writer._Self.RECONCILE}


@pytest.fixture(autouse=True)
def _logged(caplog):
    caplog.set_level("INFO")


@pytest.fixture
def kernel():
    return FakeKernel()


@pytest.fixture
def writing(kernel, tmp_path):
    return Writing(kernel, tmp_path / "ipvs.db")


def test_nothing_is_done_before_all_is_known(writing, kernel):
    kernel.table = table(v9={1: 1})
    Ownership(Store(writing.path)).record({virtual(9): 30.0})
    writing.start(flush=True).want(v1={1: 10}, synced=False)
    writing.ref.tell(Reload())
    assert writing.told == [Credit("config")]
    assert (kernel.steps, kernel.flushes, kernel.reads) == ([], 0, 0)
    writing.want().settled()
    assert kernel.table == table(v1={1: 10})


def test_the_table_becomes_what_is_wanted(writing, kernel):
    writing.start().want(v1={1: 10, 2: 20}, v2={}).settled()
    assert kernel.table == table(v1={1: 10, 2: 20}, v2={})
    writing.want(RealServerWanted(virtual(1), real(1), None), v3={1: 5}).settled()
    writing.want(VirtualServerWanted(virtual(2), None)).settled()
    assert kernel.table == table(v1={2: 20}, v3={1: 5})


def test_nothing_is_written_when_all_is_there(writing, kernel, caplog):
    kernel.table = table(v1={1: 10, 2: 20}, v2={})
    writing.start().want(v1={1: 10, 2: 20}, v2={}).settled()
    assert kernel.steps == []
    assert "ipvsadm" not in caplog.text


def test_every_operation_is_logged_as_ipvsadm_would_do_it(writing, caplog):
    writing.start(noop=True).want(v1={1: 10}).settled()
    writing.want(RealServerWanted(virtual(1), real(1), weighing(0))).settled()
    writing.want(RealServerWanted(virtual(1), real(1), None)).settled()
    writing.want(VirtualServerWanted(virtual(1), None)).settled()
    records = [record for record in caplog.records if record.name == "clusterf.ipvs.operation_log"]
    assert [line for record in records for line in record.getMessage().splitlines()] == [
        "ipvs noop: ipvsadm -A -t 10.1.1.1:80 -s wlc",
        "ipvs noop: ipvsadm -a -t 10.1.1.1:80 -r 10.2.2.1:80 -m -w 10",
        "ipvs noop: ipvsadm -e -t 10.1.1.1:80 -r 10.2.2.1:80 -m -w 0",
        "ipvs noop: ipvsadm -d -t 10.1.1.1:80 -r 10.2.2.1:80",
        "ipvs noop: ipvsadm -D -t 10.1.1.1:80",
    ]


def test_the_table_is_printed_after_each_apply_with_an_empty_line(writing, capsys):
    writing.start(print_table=True).want(v2={10: 1, 9: 1}, v1={}).settled()
    writing.want(RealServerWanted(virtual(2), real(9), weighing(2))).settled()
    writing.want().settled()
    first = "-A -t 10.1.1.1:80 -s wlc\n-A -t 10.1.1.2:80 -s wlc\n-a -t 10.1.1.2:80 -r 10.2.2.10:80 -m -w 1\n"
    assert capsys.readouterr().out == (
        f"{first}-a -t 10.1.1.2:80 -r 10.2.2.9:80 -m -w 1\n\n{first}-a -t 10.1.1.2:80 -r 10.2.2.9:80 -m -w 2\n\n"
    )


def test_an_unchanged_table_is_printed_once(writing, kernel, capsys):
    kernel.table = table(v1={})
    writing.start(print_table=True).want(v1={}).settled()
    writing.ref.tell(Reload())
    writing.settled()
    assert capsys.readouterr().out == "-A -t 10.1.1.1:80 -s wlc\n\n"


def test_with_once_the_table_is_printed_alone(writing, capsys):
    writing.start(print_table=True, once=True).want(v1={1: 10}).settled()
    assert capsys.readouterr().out == "-A -t 10.1.1.1:80 -s wlc\n-a -t 10.1.1.1:80 -r 10.2.2.1:80 -m -w 10\n"


def test_a_table_that_nobody_reads_stops_only_the_printing(writing, kernel, monkeypatch, caplog):
    class Closed:
        def write(self, text):
            raise BrokenPipeError(errno.EPIPE, "Broken pipe")

        def flush(self):
            pass

    monkeypatch.setattr(sys, "stdout", Closed())
    writing.start(print_table=True).want(v1={}).settled()
    writing.want(v2={}).settled()
    assert caplog.text.count("Broken pipe") == 1
    assert kernel.table == table(v1={}, v2={})


@pytest.mark.parametrize(("problems", "status"), [((), 0), ((WARNED,), 0), ((BAD,), 3), ((BAD, WARNED), 0)])
def test_once_ends_with_what_became_of_it(writing, problems, status):
    writing.start(once=True).want(*problems, v1={1: 10})
    assert wait_until(lambda: writing.finished) == [status]


def test_once_with_a_failed_step_ends_with_1(writing, kernel, caplog):
    kernel.refused[real(1)] = errno.EINVAL
    writing.start(once=True).want(BAD, v1={1: 10, 2: 10})
    assert wait_until(lambda: writing.finished) == [1]
    assert kernel.table == table(v1={2: 10})
    assert "1 operations failed" in caplog.text


def test_once_without_a_configuration_gives_up_in_time(writing, caplog):
    writing.start(once=True, once_timeout=0.2).want(v1={1: 10}, synced=False)
    assert wait_until(lambda: writing.finished) == [1]
    assert "giving up" in caplog.text


def test_a_failed_step_is_reported_and_tried_again_and_the_others_go_on(writing, kernel, caplog):
    kernel.refused[real(1)] = errno.ENOMEM
    writing.start().want(v1={1: 10, 2: 10}).settled()
    assert kernel.table == table(v1={2: 10})
    assert "failed: ipvsadm -a -t 10.1.1.1:80 -r 10.2.2.1:80 -m -w 10: Cannot allocate memory" in caplog.text
    wait_until(lambda: len(kernel.steps) > 3)
    assert len(kernel.steps) < 6
    kernel.refused.clear()
    wait_until(lambda: kernel.table == table(v1={1: 10, 2: 10}))


def test_real_servers_of_a_virtual_server_that_failed_wait_for_it_without_a_word(writing, kernel, caplog):
    kernel.refused[virtual(1)] = errno.ENOENT
    writing.start().want(v1={1: 10, 2: 10}, v2={}).settled()
    wait_until(lambda: caplog.text.count("failed") >= 1)
    assert kernel.table == table(v2={})
    assert "-a -t" not in caplog.text
    kernel.refused.clear()
    wait_until(lambda: kernel.table == table(v1={1: 10, 2: 10}, v2={}))


def test_after_a_broken_exchange_the_table_is_read_again(writing, kernel, caplog):
    writing.start().want(v1={1: 10}).settled()
    reads = kernel.reads
    kernel.breaks = [OSError(errno.ETIMEDOUT, "Connection timed out")]
    writing.want(RealServerWanted(virtual(1), real(1), weighing(20)))
    wait_until(lambda: kernel.table == table(v1={1: 20}))
    assert kernel.reads == reads + 1
    assert "Connection timed out; reading the table again" in caplog.text


def test_when_answers_are_lost_the_rest_is_written_and_nothing_twice(writing, kernel, monkeypatch, caplog):
    def half(steps):
        monkeypatch.undo()
        kernel.apply(steps[: len(steps) // 2])
        raise OSError(errno.ENOBUFS, "No buffer space available")

    caplog.set_level("INFO")
    monkeypatch.setattr(kernel, "apply", half)
    reals = dict.fromkeys(range(1, 51), 10)
    writing.start().want(v1=reals, v2=reals)
    wait_until(lambda: kernel.table == table(v1=reals, v2=reals))
    assert len(set(kernel.steps)) == len(kernel.steps) == 102
    assert kernel.reads == 2
    assert "No buffer space available; reading the table again" in caplog.text
    assert "failed" not in caplog.text


def test_a_kernel_that_stays_broken_is_not_asked_in_a_hot_loop(writing, kernel, caplog):
    kernel.breaks = [OSError(errno.EIO, "broken") for _ in range(1000)]
    writing.start().want(v1={1: 10})
    wait_until(lambda: len(kernel.breaks) < 998)
    assert len(kernel.breaks) > 990
    kernel.breaks.clear()
    wait_until(lambda: kernel.table == table(v1={1: 10}))


def test_what_others_change_is_reported_and_mended_at_the_next_resync(writing, kernel, caplog):
    writing.start(resync_interval=0.3).want(v1={1: 10, 2: 10}, v2={}).settled()
    changed = table(v1={1: 99, 3: 1})
    kernel.table = changed
    wait_until(lambda: kernel.table == table(v1={1: 10, 2: 10}, v2={}))
    assert "ipvs: drift: 4 changes made outside clusterf, repairing" in caplog.text
    assert "drift: repair: ipvsadm -A -t 10.1.1.2:80 -s wlc" in caplog.text


def test_much_that_others_change_takes_few_lines(writing, kernel, caplog):
    writing.start(resync_interval=0.3).want(v1=dict.fromkeys(range(1, 200), 10)).settled()
    kernel.table = table()
    wait_until(lambda: kernel.table == table(v1=dict.fromkeys(range(1, 200), 10)))
    assert caplog.text.count("drift: repair: ") == table_reader.DRIFT_LINES


def test_to_reload_is_to_read_the_table_again(writing, kernel):
    writing.start().want(v1={1: 10}).settled()
    kernel.table = table()
    writing.ref.tell(Reload())
    wait_until(lambda: kernel.table == table(v1={1: 10}))


def test_a_flush_is_done_once_and_told(writing, kernel, caplog):
    kernel.table = table(v1={1: 10}, v9={1: 1})
    writing.start(flush=True).want(v1={1: 10}).settled()
    writing.ref.tell(Reload())
    writing.settled()
    assert (kernel.flushes, writing.flushed) == (1, 1)
    assert kernel.table == table(v1={1: 10})
    assert caplog.text.count("ipvsadm -C") == 1


def test_a_flush_that_fails_is_done_again(writing, kernel):
    kernel.table = table(v9={1: 1})
    writing.start(flush=True)
    kernel.breaks = [OSError(errno.EIO, "broken")]
    writing.want(v1={})
    wait_until(lambda: kernel.table == table(v1={}))
    assert writing.flushed == 1


def test_what_is_excluded_is_never_touched(writing, kernel, caplog):
    Ownership(Store(writing.path)).record({virtual(8): 30.0, virtual(9): 30.0})
    kernel.table = table(v7={1: 1}, v8={1: 1}, v9={1: 1})
    writing.start(flush=True, excluded=(ip_network("10.1.1.8/32"),)).want(v1={}).settled()
    assert kernel.flushes == 0
    assert kernel.table == table(v1={}, v8={1: 1})
    assert all(step.virtual != virtual(8) for step in kernel.steps)


def test_what_is_not_ours_is_left_alone_and_what_is_on_record_goes(writing, kernel):
    Ownership(Store(writing.path)).record({virtual(9): 30.0})
    kernel.table = table(v8={1: 1}, v9={1: 1})
    writing.start().want(v1={}).settled()
    assert kernel.table == table(v1={}, v8={1: 1})


def test_what_is_on_record_is_not_forgotten_for_a_table_that_is_read_without_it(writing, kernel, monkeypatch):
    def incomplete():
        monkeypatch.undo()
        return table(v8={1: 1})

    Ownership(Store(writing.path)).record({virtual(7): 30.0, virtual(9): 30.0})
    kernel.table = table(v8={1: 1}, v9={1: 1})
    monkeypatch.setattr(kernel, "read", incomplete)
    writing.start().want(v1={}).settled()
    assert kernel.table == table(v1={}, v8={1: 1})
    assert Ownership(Store(writing.path)).load().keys() == {virtual(1)}


def test_what_we_make_is_on_record_for_the_next_writer(writing, kernel):
    writing.start().want(v1={}, v2={}).settled()
    writing.ref.stop()
    assert kernel.closed
    assert Ownership(Store(writing.path)).load().keys() == {virtual(1), virtual(2)}
    writing.start().want(v1={}).settled()
    assert kernel.table == table(v1={})
    assert Ownership(Store(writing.path)).load().keys() == {virtual(1)}


def test_with_noop_nothing_goes_on_record(writing):
    writing.start(noop=True).want(v1={}).settled()
    assert Ownership(Store(writing.path)).load() == {}


def test_a_real_server_that_leaves_drains_first(writing, kernel, monkeypatch):
    monkeypatch.setattr(ipvs_writer, "DRAIN_CHECK", 0.05)
    writing.start(once=True).want(v1={1: 10, 2: 10}).settled()
    writing.finished.clear()
    kernel.active[virtual(1)] = {real(1): 3}
    writing.want(RealServerWanted(virtual(1), real(1), None)).settled()
    assert kernel.table == table(v1={1: 0, 2: 10})
    assert writing.finished == []
    kernel.active.clear()
    wait_until(lambda: kernel.table == table(v1={2: 10}))
    assert wait_until(lambda: writing.finished)[0] == 0


def test_a_drain_ends_when_its_time_is_up(writing, kernel, monkeypatch):
    monkeypatch.setattr(ipvs_writer, "DRAIN_CHECK", 0.05)
    writing.start().want(v1={1: 10, 2: 10})
    writing.want(VirtualServerWanted(virtual(1), VirtualServerSpec(WLC, 0.3))).settled()
    kernel.active[virtual(1)] = {real(1): 3}
    writing.want(RealServerWanted(virtual(1), real(1), None)).settled()
    assert kernel.table == table(v1={1: 0, 2: 10})
    wait_until(lambda: kernel.table == table(v1={2: 10}))


def test_a_large_table_is_written_in_parts_and_pings_get_through(writing, kernel, monkeypatch):
    monkeypatch.setattr(ipvs_writer, "PART", 50)
    writing.start().want(v1=dict.fromkeys(range(1, 200), 10), v2=dict.fromkeys(range(1, 200), 10))
    assert between_messages(writing.ref, lambda: len(kernel.steps)) < 400
    writing.settled()
    assert kernel.table == table(v1=dict.fromkeys(range(1, 200), 10), v2=dict.fromkeys(range(1, 200), 10))


def test_what_is_urgent_is_written_before_what_is_queued(writing, kernel, monkeypatch):
    monkeypatch.setattr(ipvs_writer, "PART", 5)
    writing.start().want(v1={1: 10, 2: 10}).settled()
    kernel.steps.clear()
    writing.want(v1=dict.fromkeys(range(3, 100), 10))
    writing.want(RealServerWanted(virtual(1), real(1), weighing(0)), urgent=True)
    writing.want(RealServerWanted(virtual(1), real(2), None), urgent=True).settled()
    assert kernel.table == table(v1={1: 0, **dict.fromkeys(range(3, 100), 10)})
    assert all(step.real in {real(1), real(2)} for step in kernel.steps if step.op is not Op.ADD_REAL)
    assert max(at for at, step in enumerate(kernel.steps) if step.op is not Op.ADD_REAL) <= 12


def test_what_the_writer_does_not_know_is_its_failure(writing, caplog):
    writing.start().ref.tell("nonsense")
    wait_until(lambda: not writing.ref.is_alive())
    assert "IpvsWriter" in caplog.text


TWELVE = {f"v{number}": {1: 1} for number in range(1, 13)}


def gone(*numbers):
    return [VirtualServerWanted(virtual(number), None) for number in numbers]


def test_the_removal_of_most_virtual_servers_is_held_until_it_is_confirmed(writing, kernel, caplog):
    writing.start(removal_hold=1000.0).want(**TWELVE).settled()
    writing.want(*gone(*range(1, 10)), v12={1: 5}, v13={1: 1})
    wait_until(lambda: "9 of 12 virtual servers would be removed at once: held" in caplog.text)
    assert kernel.table == table(**TWELVE | {"v12": {1: 5}, "v13": {1: 1}})
    writing.ref.tell(Confirm())
    wait_until(lambda: kernel.table == table(v10={1: 1}, v11={1: 1}, v12={1: 5}, v13={1: 1}))
    assert "no longer held" in caplog.text


def test_verdicts_are_no_sign_that_a_step_of_the_configuration_is_not_told_in_full(writing):
    writing.start(removal_hold=1000.0).want(**TWELVE).settled()
    last = writing.actor._hold._changed
    writing.want(RealServerWanted(virtual(1), real(1), weighing(0)), urgent=True).settled()
    assert writing.actor._hold._changed == last
    writing.want(v1={1: 2}).settled()
    assert writing.actor._hold._changed > last


def test_to_leave_out_all_real_servers_for_their_health_is_not_held(writing, kernel):
    writing.start(removal_hold=1000.0).want(**TWELVE).settled()
    writing.want(*(RealServerWanted(virtual(n), real(1), None) for n in range(1, 13)), urgent=True)
    wait_until(lambda: kernel.table == table(**{name: {} for name in TWELVE}))


def test_what_still_stands_after_the_hold_goes(writing, kernel):
    writing.start(removal_hold=0.5).want(**TWELVE).settled()
    writing.want(*gone(*range(1, 13)))
    wait_until(lambda: not kernel.table.virtuals)


def test_what_comes_back_during_the_hold_never_went(writing, kernel, caplog):
    writing.start(removal_hold=1000.0).want(**TWELVE).settled()
    steps = len(kernel.steps)
    writing.want(*gone(*range(1, 13)))
    wait_until(lambda: "held" in caplog.text)
    writing.want(**TWELVE).settled()
    assert kernel.table == table(**TWELVE)
    assert len(kernel.steps) == steps


def test_what_begins_to_go_is_told_then_and_not_before(writing, kernel, caplog):
    writing.start(removal_hold=1000.0).want(**TWELVE).settled()
    writing.want(*gone(1))
    wait_until(lambda: virtual(1) not in kernel.table.virtuals)
    assert writing.departed == [virtual(1)]
    writing.want(*gone(*range(2, 13)))
    wait_until(lambda: "held" in caplog.text)
    writing.want(**{name: reals for name, reals in TWELVE.items() if name in {"v2", "v3"}})
    writing.ref.tell(Reload())
    writing.ref.tell(Confirm())
    wait_until(lambda: kernel.table == table(v2={1: 1}, v3={1: 1}))
    assert sorted(writing.departed, key=str) == sorted(map(virtual, [1, *range(4, 13)]), key=str)


def test_writer_goes_on_when_the_actor_upstream_is_dead(writing, kernel):
    writing.start().want(v1={1: 10}).settled()
    writing.upstream.stop()
    writing.want(*gone(1), v2={1: 10}).settled()
    assert kernel.table == table(v2={1: 10})
    assert writing.ref.is_alive()


def test_what_the_kernel_refused_and_is_not_wanted_any_more_is_told(writing, kernel, caplog):
    kernel.refused[virtual(13)] = errno.EINVAL
    writing.start(removal_hold=1000.0).want(**TWELVE, v13={1: 1})
    wait_until(lambda: "failed" in caplog.text)
    writing.want(*gone(*range(1, 14)))
    wait_until(lambda: "held" in caplog.text)
    assert wait_until(lambda: writing.departed) == [virtual(13)]


def test_a_great_removal_that_comes_in_parts_is_held_as_a_whole(writing, kernel, caplog):
    writing.start(removal_hold=1000.0).want(**TWELVE).settled()
    for number in range(1, 13):
        writing.want(*gone(number))
    wait_until(lambda: "12 of 12 virtual servers would be removed at once" in caplog.text)
    assert kernel.table == table(**TWELVE)


def test_a_few_virtual_servers_go_though_there_is_a_hold(writing, kernel):
    writing.start(removal_hold=1000.0).want(**TWELVE).settled()
    writing.want(*gone(1, 2))
    wait_until(lambda: virtual(1) not in kernel.table.virtuals)
    assert len(kernel.table) == 10


def test_a_node_that_starts_on_an_empty_configuration_holds_what_it_made(writing, kernel, caplog):
    Ownership(Store(writing.path)).record({virtual(number): 30.0 for number in range(1, 13)})
    kernel.table = table(**TWELVE)
    writing.start(removal_hold=1000.0).want()
    wait_until(lambda: "12 of 12 virtual servers would be removed at once" in caplog.text)
    assert kernel.table == table(**TWELVE)


def test_a_few_go_soon_although_a_hold_was_to_last_longer(writing, kernel, caplog):
    writing.start(removal_hold=1000.0).want(**TWELVE).settled()
    writing.want(*gone(*range(1, 13)))
    wait_until(lambda: "held" in caplog.text)
    writing.want(**TWELVE).settled()
    writing.want(*gone(1))
    wait_until(lambda: virtual(1) not in kernel.table.virtuals)


class Following:
    """What a writer tells of virtual servers: each with whether it is ours, and whether it is in the table then."""

    def __init__(self, kernel, *, fails=False):
        self.kernel = kernel
        self.fails = fails
        self.told = []

    def follow(self, changes):
        self.told += [(v, ours, v in self.kernel.table.virtuals) for v, ours in changes.items()]
        self._fail()

    def keep(self):
        self.told.append("keep")
        self._fail()

    def _fail(self):
        if self.fails:
            raise OSError("there is no interface eth0")


def test_virtual_servers_are_followed_from_before_they_are_made_until_they_are_gone(writing, kernel):
    following = Following(kernel)
    writing.start(follower=following).want(v1={1: 10}).settled()
    writing.want(v1={1: 20, 2: 10}).settled()
    writing.want(*gone(1)).settled()
    assert following.told == ["keep", (virtual(1), True, False), (virtual(1), False, False)]


def test_what_is_followed_is_kept_after_each_look_at_the_whole_table(writing, kernel):
    Ownership(Store(writing.path)).record({virtual(1): 30.0, virtual(9): 30.0})
    kernel.table = table(v1={}, v2={})
    following = Following(kernel)
    writing.start(follower=following).want(v1={}, v2={}).settled()
    assert set(following.told[:2]) == {(virtual(1), True, True), (virtual(9), True, False)}
    assert set(following.told[2:-1]) == {(virtual(2), True, True), (virtual(9), False, False)}
    assert following.told[-1] == "keep"
    writing.ref.tell(Reload())
    wait_until(lambda: following.told.count("keep") == 2)


def test_a_virtual_server_is_followed_while_its_real_servers_drain_and_while_it_is_held(writing, kernel, caplog):
    following = Following(kernel)
    writing.start(follower=following, removal_hold=1000.0).want(**TWELVE).settled()
    kernel.active[virtual(1)] = {real(1): 3}
    writing.want(*gone(1))
    wait_until(lambda: kernel.table.reals[virtual(1)] == {real(1): weighing(0)})
    writing.want(*gone(*range(2, 13)))
    wait_until(lambda: "held" in caplog.text)
    assert all(ours for _, ours, _ in following.told[1:])


def test_a_flush_leaves_those_that_come_back_followed(writing, kernel):
    Ownership(Store(writing.path)).record({virtual(1): 30.0})
    kernel.table = table(v1={})
    following = Following(kernel)
    writing.start(follower=following, flush=True).want(v1={}).settled()
    assert following.told == [(virtual(1), True, True), "keep"]


def test_what_cannot_be_had_beside_the_table_is_tried_again_before_the_next_look_at_it(writing, kernel, caplog):
    following = Following(kernel, fails=True)
    writing.start(follower=following, resync_interval=1000.0).want(v1={1: 10}).settled()
    following.fails = False
    kept = following.told.count("keep")
    wait_until(lambda: following.told.count("keep") == kept + 1)
    writing.settled()
    assert ipvs_writer._Self.KEEP_COMPANIONS not in writing.actor._due

    following.fails = True
    writing.want(v2={}).settled()
    following.fails = False
    wait_until(lambda: following.told.count("keep") == kept + 2)


def test_a_follower_that_fails_is_reported_and_the_table_written_all_the_same(writing, kernel, caplog):
    writing.start(follower=Following(kernel, fails=True)).want(v1={1: 10}).settled()
    assert kernel.table == table(v1={1: 10})
    assert "ipvs: there is no interface eth0" in caplog.text


@pytest.mark.parametrize(("noop", "status"), [(False, 1), (True, 0)])
def test_once_without_what_the_table_needs_beside_it_ends_with_1_unless_nothing_was_to_be_done(
    writing, kernel, noop, status
):
    writing.start(follower=Following(kernel, fails=True), once=True, noop=noop).want(v1={1: 10})
    assert wait_until(lambda: writing.finished) == [status]
    assert kernel.table == table(v1={1: 10})
