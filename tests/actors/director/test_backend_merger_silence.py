"""A health process that never reports its verdicts when the director starts."""

import time
from ipaddress import ip_address

import pytest

from actors.link.messages import ValueIs, deletion_of
from clusterf.config.model import BackendKey, HealthCheck
from clusterf.director.merger import RealServerWanted
from clusterf.director.removal_hold import HoldPolicy
from clusterf.ipvs.table import Method, RealServer, RealServerSettings, table_of
from clusterf.lib.addresses import Endpoint
from clusterf.resolve.virtual_servers import Defaults, virtual_servers
from tests.actors.support.director import (
    DOWN,
    FRONTEND,
    TCP,
    UP,
    is_synced,
    items,
    updates,
    value,
    verdict,
)
from tests.waiting import wait_until

EXISTING = {1: 10, 2: 0}  # what the kernel has, by the number of the backend

((VIRTUAL, _),) = virtual_servers(FRONTEND.value, Defaults())


def backend(number):
    raw = b'{"ipv4": "10.2.2.%d", "tcp": 8080, "weight": 10}' % number
    return ValueIs(BackendKey(b"web", b"%d" % number), value(b"services/web/backends/%d" % number, raw))


def at(number):
    return Endpoint(ip_address(f"10.2.2.{number}").packed, 8080)


def in_force():
    """Return what the kernel has: a backend that was up, and one that was down."""
    weights = EXISTING.items()
    reals = {RealServer(ip_address(f"10.2.2.{n}"), 8080): RealServerSettings(Method.MASQ, w) for n, w in weights}
    return table_of([(VIRTUAL, None, reals)])


def wanted(recorder):
    """Return the weight that each backend is to have, by its number."""
    reals = [item for item in items(recorder) if isinstance(item, RealServerWanted)]
    return {item.real.address.packed[3]: item.settings and item.settings.weight for item in reals}


def lines(caplog):
    return [(r.levelname, r.getMessage()) for r in caplog.records if r.name == "actors.director.backend_merger"]


@pytest.fixture
def start(direct):
    def start(**options):
        director = direct(in_force=in_force, **{"silence": 0.2} | options)
        return director.configure(FRONTEND, TCP, *map(backend, (1, 2, 3)))

    return start


def test_configuration_is_applied_without_a_health_process_that_reports_nothing(start, recorder, caplog):
    director = start(processes=2).publish(process=1)
    wait_until(lambda: is_synced(recorder))
    assert wanted(recorder) == {1: 10, 2: 0, 3: 0}, "a weight is as in the kernel, and one that is new is unproven"
    assert lines(caplog)[0] == ("ERROR", "health: process health0 does not report its verdicts: starting without them")
    assert ("WARNING", "health: starting without verdicts on 3 backends") in lines(caplog)
    assert not any("health1" in line for _, line in lines(caplog))

    director.configure(backend(4))
    wait_until(lambda: wanted(recorder) == {1: 10, 2: 0, 3: 0, 4: 0})
    director.publish(verdict(UP, b"1", at(1)), verdict(DOWN, b"2", at(2)), verdict(UP, b"3", at(3)))
    wait_until(lambda: wanted(recorder) == {1: 10, 2: 0, 3: 10, 4: 0})
    assert lines(caplog)[-1] == ("INFO", "health: process health0 has reported its verdicts")


def test_health_process_has_its_time_from_when_the_configuration_is_known(direct, recorder, caplog):
    director = direct(silence=0.2).configure(FRONTEND, TCP, backend(1), synced=False)
    wait_until(lambda: updates(recorder))
    began = time.monotonic()
    wait_until(lambda: time.monotonic() > began + 0.4)
    assert lines(caplog) == []
    director.publish().configure()
    wait_until(lambda: is_synced(recorder))
    director.wait()
    assert lines(caplog) == []


def test_verdicts_of_the_others_count_without_one_that_reports_nothing(start, recorder):
    start(processes=2).publish(verdict(DOWN, b"1", at(1)), process=1)
    wait_until(lambda: is_synced(recorder))
    assert wanted(recorder) == {1: 0, 2: 0, 3: 0}


def test_once_does_not_apply_a_configuration_whose_health_is_unknown(start, recorder, caplog):
    director = start(silence=None, patience=0.2)
    wait_until(lambda: lines(caplog))
    director.wait()
    line = "health: process health0 does not report its verdicts: not applying the configuration"
    assert lines(caplog) == [("ERROR", line)]
    assert not is_synced(recorder)


def test_once_names_no_health_process_while_the_configuration_is_what_is_missing(direct, recorder, caplog):
    director = direct(patience=0.2).configure(FRONTEND, TCP, backend(1), synced=False)
    wait_until(lambda: director.merger._actor_weakref()._readiness._patient is False)
    director.wait()
    assert lines(caplog) == []


def test_backends_are_not_replaced_while_nobody_reports_on_their_successors(start, recorder):
    """The time in which new backends may prove themselves runs only while health processes do."""
    director = start(hold=HoldPolicy(1000.0))
    wait_until(lambda: is_synced(recorder))
    quick = ValueIs(TCP.key, HealthCheck(interval=0.1, timeout=0.1, fall=1))
    director.configure(quick, deletion_of(backend(1).key), deletion_of(backend(2).key))
    merger = director.merger._actor_weakref()
    wait_until(lambda: merger._retention._replaced)
    assert merger._proving(VIRTUAL, time.monotonic() + 1e6).until is not None
    assert wanted(recorder)[1] == 10
