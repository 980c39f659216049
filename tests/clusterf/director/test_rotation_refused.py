"""Backends that are not probed, as the health processes refuse to: they have no verdict, and nobody waits for one."""

from ipaddress import IPv4Address

from clusterf.director.unproven import GRACE
from clusterf.ipvs.table import Method, RealServer, RealServerSettings, table_of
from tests.clusterf.support.director import TCP, WEB, Director, H, at, backend, key, service, virtuals

PROVING = (TCP.interval + TCP.timeout) * TCP.fall


def in_force(*numbers):
    ((virtual, settings),) = virtuals(WEB).items()
    reals = {RealServer(IPv4Address("10.0.0.0") + n, 8080): RealServerSettings(Method.MASQ, 10) for n in numbers}
    return table_of([(virtual, settings, reals)])


def test_new_backend_has_no_weight_and_one_in_force_keeps_its_own():
    director = Director({H: TCP} | service(1, 2), lambda: in_force(1))
    director.refuse(1, 2)
    assert director.weights == {1: 10, 2: 0}
    director.wait(10 * (PROVING + GRACE))
    assert director.weights == {1: 10, 2: 0}


def test_nobody_waits_for_their_verdicts():
    director = Director({H: TCP} | service(1, 2))
    assert director.rotation.unknown == 2
    director.refuse(1)
    director.judge({2: True})
    assert director.rotation.unknown == 0
    assert list(director.rotation.awaited()) == []
    director.judge({1: None})
    assert director.rotation.unknown == 1


def test_verdict_that_is_kept_counts_when_probes_are_refused():
    director = Director({H: TCP} | service(1, 2))
    director.judge({1: True, 2: False})
    director.refuse(1, 2)
    assert director.weights == {1: 10, 2: 0}


def test_backends_that_they_replace_stay_for_the_time_of_a_check_and_no_longer():
    director = Director({H: TCP} | service(1))
    director.judge({1: True})
    director.put({key(1): None, key(2): backend(2)})
    director.refuse(2)
    director.wait()
    assert director.weights == {1: 10, 2: 0}
    director.wait(PROVING)
    assert director.weights == {2: 0}


def test_renamed_backend_in_force_keeps_its_weight():
    director = Director({H: TCP} | service(1), lambda: in_force(1))
    director.refuse(1)
    director.put({key(1): None, key(7): backend(1)})
    director.rotation.put_verdict(b"web", b"7", at(1), None, refused=True)
    director.pipeline.flush()
    director.wait()
    assert director.weights == {1: 10}
