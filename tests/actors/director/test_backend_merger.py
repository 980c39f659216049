import errno
import os
from ipaddress import ip_address

import pytest

from actors.config.config_publisher import ConfigPublisher
from actors.link.messages import ValueIs
from clusterf.config.model import BackendKey, FrontendKey, HealthCheck, HealthKey
from clusterf.health.verdict import Verdict
from clusterf.ipvs.table import Method, RealServer, RealServerSettings, Table, table_of
from clusterf.lib.addresses import Endpoint
from clusterf.lib.store import Store
from clusterf.reconcile.lapse_record import LapseRecord
from clusterf.reconcile.record import Record
from clusterf.resolve.virtual_servers import Defaults, virtual_servers
from tests.actors.support.director import (
    DOWN,
    FRONTEND,
    TCP,
    UP,
    backend,
    is_synced,
    items,
    sources,
    updates,
    value,
    verdict,
    weights,
)
from tests.waiting import wait_until


def test_verdict_changes_the_weight_and_is_urgent(direct, recorder):
    director = direct().configure(FRONTEND, TCP, backend(7)).publish(verdict(UP))
    wait_until(lambda: is_synced(recorder))
    wait_until(lambda: weights(recorder)[-1:] == [7])
    recorder.messages.clear()
    for act, message, weight, urgent in (
        *((director.publish, verdict(DOWN), 0, True), (director.publish, verdict(UP), 7, True)),
        *((director.configure, backend(9), 9, False), (director.publish, verdict(DOWN), 0, True)),
    ):
        act(message)
        wait_until(lambda weight=weight: weights(recorder)[-1:] == [weight])
        assert updates(recorder)[-1].urgent is urgent


def test_updates_are_not_synced_before_every_health_process_is(direct, recorder):
    director = direct(processes=2).configure(FRONTEND, TCP, backend(7)).publish(verdict(UP))
    wait_until(lambda: len(updates(recorder)) >= 2)
    director.publish(verdict(UP))
    wait_until(lambda: weights(recorder)[-1:] == [7])
    director.wait()
    assert not is_synced(recorder)
    director.publish(process=1)
    wait_until(lambda: is_synced(recorder))


def test_updates_are_not_synced_before_the_configuration_is(direct, recorder):
    director = direct().publish().configure(FRONTEND, synced=False)
    wait_until(lambda: len(updates(recorder)) >= 2)
    assert not is_synced(recorder)
    director.configure()
    wait_until(lambda: is_synced(recorder))


def test_updates_are_not_synced_before_every_backend_has_a_verdict_with_patience(direct, recorder):
    other = ValueIs(BackendKey(b"web", b"2"), value(b"services/web/backends/2", b'{"ipv4": "10.2.2.2", "tcp": 8080}'))
    director = direct(patience=60.0).configure(FRONTEND, TCP, backend(7), other).publish(verdict(UP))
    wait_until(lambda: 7 in weights(recorder))
    director.wait()
    assert not is_synced(recorder)
    director.publish(verdict(DOWN, b"2", Endpoint(ip_address("10.2.2.2").packed, 8080)))
    wait_until(lambda: is_synced(recorder))


def test_backend_that_is_not_probed_is_not_awaited(direct, recorder):
    other = ValueIs(BackendKey(b"web", b"2"), value(b"services/web/backends/2", b'{"ipv4": "127.0.0.1", "tcp": 8080}'))
    director = direct(patience=60.0).configure(FRONTEND, TCP, backend(7), other).publish(verdict(UP))
    wait_until(lambda: 7 in weights(recorder))
    refused = Verdict(up=None, since=1.0, reason="not allowed (--health-deny)")
    director.publish(verdict(refused, b"2", Endpoint(ip_address("127.0.0.1").packed, 8080)))
    wait_until(lambda: is_synced(recorder))
    assert set(weights(recorder)) == {0, 7}


def test_missing_verdicts_are_awaited_no_longer_than_patience(direct, recorder, caplog):
    direct(patience=0.2).configure(FRONTEND, TCP, backend(7)).publish()
    wait_until(lambda: [update for update in updates(recorder) if update.synced])
    assert [r.getMessage() for r in caplog.records if r.name == "actors.director.backend_merger"] == [
        "health: starting without verdicts on 1 backends",
        "health: no verdict yet: web/1: 10.2.2.1:8080",
    ]


def test_unchecked_backend_needs_no_verdict(direct, recorder):
    direct(patience=60.0).configure(FRONTEND, backend(7)).publish()
    wait_until(lambda: is_synced(recorder))


def test_all_backends_are_in_rotation_without_health_processes(direct, recorder):
    direct(health=()).configure(FRONTEND, TCP, backend(7))
    wait_until(lambda: is_synced(recorder))
    assert weights(recorder) == [7]


@pytest.mark.parametrize("known", [[], [DOWN]])
def test_crash_of_a_health_process_changes_nothing(direct, recorder, known):
    director = direct().configure(FRONTEND, TCP, backend(7)).publish(verdict(DOWN))
    wait_until(lambda: is_synced(recorder))
    wait_until(lambda: weights(recorder)[-1:] == [0])
    before, count = items(recorder), len(updates(recorder))
    director.crash().publish(*map(verdict, known))
    wait_until(lambda: len(updates(recorder)) > count)
    director.wait()
    assert items(recorder) == before
    director.publish(verdict(UP))
    wait_until(lambda: weights(recorder)[-1] == 7)


def test_crash_of_the_config_process_changes_nothing(direct, recorder, links):
    director = direct().configure(FRONTEND, TCP, backend(7)).publish(verdict(DOWN))
    wait_until(lambda: is_synced(recorder))
    wait_until(lambda: weights(recorder)[-1:] == [0])
    before, count = items(recorder), len(updates(recorder))
    director.config.stop()
    director.config = ConfigPublisher.start(sources(1), "", links)
    director.configure(FRONTEND, TCP, backend(7))
    wait_until(lambda: len(updates(recorder)) > count)
    director.wait()
    assert items(recorder) == before


def test_real_server_in_the_kernel_at_the_start_keeps_its_weight_until_a_verdict(direct, recorder):
    (virtual, _), *_ = virtual_servers(FRONTEND.value, Defaults())
    there = {RealServer(ip_address("10.2.2.1"), 8080): RealServerSettings(Method.MASQ, 3)}
    director = (
        direct(in_force=lambda: table_of([(virtual, None, there)])).configure(FRONTEND, TCP, backend(7)).publish()
    )
    wait_until(lambda: is_synced(recorder))
    assert weights(recorder) == [7]
    director.publish(verdict(DOWN))
    wait_until(lambda: weights(recorder) == [7, 0])


def test_kernel_that_cannot_be_read_at_the_start_is_read_again(direct, recorder, caplog):
    tries = iter([OSError(errno.ENOBUFS, os.strerror(errno.ENOBUFS)), None])

    def read():
        if error := next(tries):
            raise error
        return Table()

    director = direct(in_force=read).configure(FRONTEND, TCP, backend(7)).publish(verdict(UP))
    wait_until(lambda: "rereading the table" in caplog.text)
    wait_until(lambda: is_synced(recorder))
    wait_until(lambda: weights(recorder)[-1:] == [7])
    assert director.merger.is_alive()
    assert next(tries, "read twice") == "read twice"


def test_panic_is_logged_when_it_begins_and_ends(direct, recorder, caplog):
    check = ValueIs(HealthKey(b"web"), HealthCheck(panic_threshold=30))
    director = direct().configure(FRONTEND, check, backend(7)).publish(verdict(DOWN))
    wait_until(lambda: "ignoring health" in caplog.text)
    wait_until(lambda: weights(recorder)[-1] == 7)
    director.publish(verdict(UP))
    wait_until(lambda: "health applies again" in caplog.text)
    few = "1 of 1 backends (ipv4) are down, fewer than panic_threshold (30 %) are up: ignoring health"
    assert [(r.levelname, r.getMessage()) for r in caplog.records if r.name == "actors.director.backend_merger"] == [
        ("ERROR", f"health: service web: {few}"),
        ("WARNING", "health: service web: 0 of 1 backends (ipv4) are down: health applies again"),
    ]


def test_configuration_that_a_health_process_publishes_is_not_taken(direct, recorder, caplog):
    caplog.set_level("INFO")
    other = ValueIs(FrontendKey(b"evil"), FRONTEND.value)
    director = direct().configure(FRONTEND, TCP, backend(7)).publish(verdict(UP), other)
    wait_until(lambda: "link health0: disconnected" in caplog.text)
    director.crash().publish(verdict(UP))
    wait_until(lambda: is_synced(recorder))
    wait_until(lambda: weights(recorder)[-1:] == [7])
    assert director.merger.is_alive()
    assert "evil" not in str(recorder.messages)


def test_backend_that_was_down_stays_out_in_the_next_director_though_its_check_went_meanwhile(
    direct, recorder, tmp_path
):
    store = Store(tmp_path / "ipvs.db")
    before = (
        direct(lapses=LapseRecord(Record(store, "lapses"))).configure(FRONTEND, TCP, backend(7)).publish(verdict(DOWN))
    )
    wait_until(lambda: is_synced(recorder))
    before.wait()
    for ref in (before.resolver, before.merger, before.config):
        ref.stop(timeout=10)
    before.health[0].stop()
    recorder.messages.clear()
    direct(lapses=LapseRecord(Record(store, "lapses"))).configure(FRONTEND, backend(7)).publish()
    wait_until(lambda: is_synced(recorder))
    assert weights(recorder)[-1:] == [0]
