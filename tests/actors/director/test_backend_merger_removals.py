import time
from ipaddress import ip_address
from math import inf

import msgspec
import pytest

from actors.base.messages import Confirm
from actors.config.messages import SourceKnown
from actors.link.messages import DoubtIs, DoubtKey, ValueIs, deletion_of
from actors.link.published import FRAME
from clusterf.config.model import Backend, BackendKey, Frontend, FrontendKey, HealthCheck
from clusterf.director import removal_hold
from clusterf.director.merger import RealServerWanted, VirtualServerWanted
from clusterf.director.removal_hold import HoldPolicy
from clusterf.ipvs.table import Method, RealServer, RealServerSettings, table_of
from clusterf.lib.addresses import Endpoint
from clusterf.lib.store import Store
from clusterf.reconcile.hold_record import HoldRecord
from clusterf.reconcile.kept_record import Kept, KeptRecord
from clusterf.reconcile.record import Record
from clusterf.resolve.virtual_servers import Defaults, virtual_servers
from clusterf.sources.doubt import DoubtKind
from tests.actors.support.director import (
    DOWN,
    FRONTEND,
    TCP,
    UP,
    backend,
    is_synced,
    items,
    updates,
    value,
    verdict,
    weights,
)
from tests.waiting import wait_until

SERVICE = FRONTEND, TCP, backend(7)
OTHER = ValueIs(BackendKey(b"web", b"2"), value(b"services/web/backends/2", b'{"ipv4": "10.2.2.2", "tcp": 8080}'))
MANY = tuple(ValueIs(FrontendKey(b"s%d" % n), Frontend(ipv4=ip_address("10.1.2.0") + n, tcp=80)) for n in range(11))


REALS = ("10.2.2.1", "10.9.9.9")
OTHER_9 = ValueIs(BackendKey(b"web", b"9"), value(b"services/web/backends/9", b'{"ipv4": "10.9.9.9", "tcp": 8080}'))


@pytest.fixture
def serving(direct, recorder):
    def start(*more, **options):
        director = direct(hold=HoldPolicy(1000.0), **options).configure(*SERVICE, *more).publish(verdict(UP))
        wait_until(lambda: is_synced(recorder))
        wait_until(lambda: weights(recorder)[-1:] == [7])
        return director

    return start


def deletions(*messages):
    return [deletion_of(message.key) for message in messages]


def gone(recorder):
    """Return how many virtual servers are no longer wanted."""
    last = {item.virtual: item for item in items(recorder) if isinstance(item, VirtualServerWanted)}
    return sum(item.claim is None for item in last.values())


def removed(recorder):
    """Return the real servers that are no longer wanted."""
    last = {item.real: item for item in items(recorder) if isinstance(item, RealServerWanted)}
    return [str(real) for real, item in last.items() if item.settings is None]


def test_removal_is_sent_once_the_configuration_is_calm(serving, recorder):
    serving().configure(*deletions(*SERVICE))
    wait_until(lambda: gone(recorder) == 1)
    assert not updates(recorder)[-1].urgent
    assert updates(recorder)[-1].link is None


def test_service_renamed_in_two_frames_keeps_its_weight(serving, recorder):
    director = serving()
    before = len(weights(recorder))
    director.configure(*deletions(*SERVICE)).publish(verdict(None))
    director.configure(*(ValueIs(msgspec.structs.replace(m.key, service=b"new"), m.value) for m in SERVICE))
    wait_until(lambda: weights(recorder)[before:])
    director.wait()
    assert set(weights(recorder)[before:]) == {7}
    assert not gone(recorder)


def test_old_backend_is_removed_when_the_new_one_is_up(serving, recorder):
    director = serving().configure(OTHER, *deletions(backend(7)))
    wait_until(lambda: director.merger._actor_weakref()._retention._replaced)
    assert removed(recorder) == []
    director.publish(verdict(UP, b"2", at=Endpoint(ip_address("10.2.2.2").packed, 8080)))
    wait_until(lambda: removed(recorder) == ["10.2.2.1:8080"])


def test_large_removal_is_held_until_it_is_confirmed(serving, recorder, caplog):
    director = serving(*MANY).configure(*deletions(*SERVICE, *MANY))
    wait_until(lambda: "12 of 12 virtual servers would be removed at once: held" in caplog.text)
    assert not gone(recorder)
    director.merger.tell(Confirm())
    wait_until(lambda: gone(recorder) == 12)
    assert "no longer held" in caplog.text


def test_large_removal_is_sent_after_the_hold(direct, recorder, caplog):
    director = direct(health=(), hold=HoldPolicy(0.5)).configure(*SERVICE, *MANY)
    wait_until(lambda: is_synced(recorder))
    director.configure(*deletions(*SERVICE, *MANY))
    wait_until(lambda: "held" in caplog.text)
    wait_until(lambda: gone(recorder) == 12)


def test_removals_are_held_while_a_source_is_doubted(serving, recorder, caplog):
    doubt = DoubtIs(DoubtKey("etcd://h"), "another cluster")
    moved = ValueIs(FRONTEND.key, msgspec.structs.replace(FRONTEND.value, ipv4=ip_address("10.9.9.9")))
    director = serving().configure(doubt, moved)
    wait_until(lambda: "removals are held until clusterf config confirm: another cluster" in caplog.text)
    assert not gone(recorder)
    director.configure(DoubtIs(doubt.key, None))
    wait_until(lambda: gone(recorder) == 1)


def test_removals_wait_for_the_frame_after_a_full_one(serving, recorder):
    director = serving()
    names = [b"%d" % number for number in range(2 * FRAME)]
    many = [ValueIs(BackendKey(b"bulk", name), Backend(ipv4=ip_address("10.3.0.1"), tcp=80)) for name in names]
    director.configure(*deletions(*SERVICE), *many[: FRAME - len(SERVICE)])
    merger = director.merger._actor_weakref()
    wait_until(lambda: merger._retention.hold._changing)
    assert not gone(recorder)
    director.configure(*many[FRAME : FRAME + 5])
    wait_until(lambda: gone(recorder) == 1)


def test_verdict_during_a_hold_is_passed_on(serving, recorder, caplog):
    director = serving(*MANY).configure(*deletions(*MANY))
    wait_until(lambda: "held" in caplog.text)
    director.publish(verdict(DOWN))
    wait_until(lambda: weights(recorder)[-1] == 0)


@pytest.mark.parametrize("flush", [False, True])
def test_what_is_found_at_the_start_and_not_wanted_is_kept_until_it_may_go(direct, recorder, flush):
    (virtual, spec), *_ = virtual_servers(FRONTEND.value, Defaults())
    settings = {RealServer(ip_address(real), 8080): RealServerSettings(Method.MASQ, 7) for real in REALS}
    table = table_of([(virtual, spec.settings, settings)])
    director = direct(in_force=lambda: table, ours=None if flush else {virtual: 30.0}, hold=HoldPolicy(1000.0))
    director.configure(*SERVICE).publish()
    wait_until(lambda: is_synced(recorder))
    assert set(weights(recorder)) == {7}, "what was in force before counts"
    assert len(weights(recorder)) == (1 if flush else 2)
    if not flush:
        wait_until(lambda: removed(recorder) == ["10.9.9.9:8080"])


def test_without_a_hold_removals_are_sent_at_once(direct, recorder):
    director = direct().configure(*SERVICE).publish(verdict(UP))
    wait_until(lambda: is_synced(recorder))
    director.configure(*deletions(*SERVICE))
    wait_until(lambda: gone(recorder) == 1)
    assert updates(recorder)[-1].link == "config"


@pytest.mark.parametrize("back", [True, False])
def test_nothing_is_removed_after_the_config_process_ended_until_its_successor_knows_all(
    serving, recorder, monkeypatch, back
):
    director = serving(MANY[0])
    changing = DoubtIs(DoubtKey("tree", DoubtKind.CHANGE), "files are being written")
    director.configure(changing, *deletions(MANY[0]))
    hold = director.merger._actor_weakref()._retention.hold
    wait_until(lambda: hold._changing)
    director.crash_config()
    wait_until(lambda: not hold._complete)
    monkeypatch.setattr(removal_hold, "LONGEST", 0.0)
    director.configure(*SERVICE, synced=False).publish(verdict(DOWN)).publish(verdict(UP))
    wait_until(lambda: weights(recorder)[-1] == 7)
    assert not gone(recorder)
    director.configure(*([MANY[0]] if back else []))
    wait_until(lambda: hold._complete)
    director.wait()
    if back:
        assert not gone(recorder)
    else:
        wait_until(lambda: gone(recorder))


@pytest.mark.parametrize("confirmed", [True, False])
def test_hold_that_the_director_before_had_begun_goes_on_unless_it_is_confirmed(direct, recorder, tmp_path, confirmed):
    (virtual, spec), *_ = virtual_servers(FRONTEND.value, Defaults())
    left = RealServer(ip_address("10.9.9.9"), 8080)
    table = table_of([(virtual, spec.settings, {left: RealServerSettings(Method.MASQ, 7)})])
    store = Store(tmp_path / "ipvs.db")
    record = HoldRecord(Record(store, "hold"))
    record.save(time.monotonic() + 1000)
    director = direct(in_force=lambda: table, ours={virtual: 30.0}, hold=HoldPolicy(1000.0), held=record)
    if confirmed:
        director.merger.tell(Confirm())
    director.configure(*SERVICE).publish(verdict(UP))
    wait_until(lambda: is_synced(recorder))
    if confirmed:
        wait_until(lambda: removed(recorder) == [str(left)])
    director.wait()
    assert removed(recorder) == ([str(left)] if confirmed else [])
    assert (HoldRecord(Record(store, "hold")).load() is None) is confirmed
    store.close()


@pytest.mark.parametrize("end", ["deleted", "valid", "confirmed", "confirmed before"])
def test_what_is_found_is_kept_while_values_are_unknown_of_which_it_may_be(direct, recorder, caplog, end):
    (virtual, spec), *_ = virtual_servers(FRONTEND.value, Defaults())
    settings = {RealServer(ip_address(real), 8080): RealServerSettings(Method.MASQ, 7) for real in REALS}
    table = table_of([(virtual, spec.settings, settings)])
    director = direct(in_force=lambda: table, ours={virtual: 30.0}, hold=HoldPolicy(1000.0))
    key = DoubtKey("etcd://h", DoubtKind.UNKNOWN)
    if end == "confirmed before":
        director.merger.tell(Confirm())
    director.configure(DoubtIs(key, "values are invalid"), *SERVICE).publish(verdict(UP))
    if end != "confirmed before":
        wait_until(lambda: "1 real servers are not configured, and kept" in caplog.text)
        director.configure(OTHER)
        wait_until(lambda: len(weights(recorder)) > 2)
        director.configure(*deletions(OTHER))
        wait_until(lambda: removed(recorder) == ["10.2.2.2:8080"])
    if end in {"deleted", "valid"}:
        director.configure(*[OTHER_9] * (end == "valid"), DoubtIs(key, None))
    elif end == "confirmed":
        director.merger.tell(Confirm())
    wait_until(lambda: len(removed(recorder)) == 2 - (end in {"valid", "confirmed before"}))
    assert ("10.9.9.9:8080" in removed(recorder)) is (end != "valid")


@pytest.mark.parametrize("doubt", ["the same", "another"])
def test_director_keeps_for_the_same_doubt_what_the_one_before_kept_and_no_more(
    direct, recorder, caplog, tmp_path, doubt
):
    (virtual, spec), *_ = virtual_servers(FRONTEND.value, Defaults())
    settings = {RealServer(ip_address(real), 8080): RealServerSettings(Method.MASQ, 7) for real in (*REALS, "10.8.8.8")}
    store = Store(tmp_path / "ipvs.db")
    record = KeptRecord(Record(store, "kept"))
    record.save(Kept({"etcd://h: the same"}, {(virtual, RealServer(ip_address("10.8.8.8"), 8080))}))
    director = direct(
        in_force=lambda: table_of([(virtual, spec.settings, settings)]),
        ours={virtual: 30.0},
        hold=HoldPolicy(1000.0),
        kept=record,
    )
    director.configure(DoubtIs(DoubtKey("etcd://h", DoubtKind.UNKNOWN), doubt), *SERVICE).publish(verdict(UP))
    kept = 1 if doubt == "the same" else 2
    wait_until(lambda: f"{kept} real servers are not configured, and kept" in caplog.text)
    wait_until(lambda: removed(recorder) == ["10.9.9.9:8080"] * (2 - kept))
    assert len(KeptRecord(Record(store, "kept")).load().servers) == kept
    director.merger.tell(Confirm())
    wait_until(lambda: len(removed(recorder)) == 2)
    director.wait()
    assert KeptRecord(Record(store, "kept")).load() == Kept({f"etcd://h: {doubt}"})
    store.close()


def test_hold_does_not_end_before_the_sources_of_that_moment_are_known(direct, recorder, caplog, monkeypatch):
    monkeypatch.setattr(removal_hold, "SILENT", 0.0)
    director = direct(health=(), hold=HoldPolicy(0.5)).configure(*SERVICE, *MANY)
    wait_until(lambda: is_synced(recorder))
    hold = director.merger._actor_weakref()._retention.hold
    director.config.tell(SourceKnown(0, time.monotonic()))
    wait_until(lambda: hold._sources_known != inf)
    director.configure(*deletions(*SERVICE, *MANY))
    wait_until(lambda: hold.until is not None and hold.until < time.monotonic())
    director.config.tell(SourceKnown(0, hold.until - 0.1))
    wait_until(lambda: "held on, as the sources cannot be read" in caplog.text)
    director.wait()
    assert not gone(recorder)
    director.configure(*SERVICE)
    wait_until(lambda: len([item for item in items(recorder) if isinstance(item, RealServerWanted)]) > 1)
    director.config.tell(SourceKnown(0, time.monotonic()))
    wait_until(lambda: gone(recorder) == 11)


def test_time_of_new_backends_runs_only_while_health_processes_do(serving, recorder):
    check = ValueIs(TCP.key, HealthCheck(interval=0.1, timeout=0.1, fall=1))
    director = serving().configure(check)
    director.health[0].pulse(time.monotonic())
    director.configure(OTHER, *deletions(backend(7)))
    at = Endpoint(ip_address("10.2.2.2").packed, 8080)
    director.publish(verdict(DOWN, b"2", at=at))
    retention = director.merger._actor_weakref()._retention
    wait_until(lambda: retention._replaced)
    began = time.monotonic()
    wait_until(lambda: time.monotonic() > began + 0.5)
    director.configure(MANY[0])
    director.wait()
    assert removed(recorder) == []
    director.health[0].pulse(time.monotonic())
    wait_until(lambda: removed(recorder) == ["10.2.2.1:8080"])
