import pytest

from clusterf.config.model import BackendCheck, HealthCheck
from clusterf.health.checks import Checks

DEFAULT, OWN, NONE = HealthCheck(interval=7), HealthCheck(interval=9), HealthCheck(type="none")


def test_own_check_is_in_force_before_the_default():
    checks = Checks()
    assert checks.in_force(b"web") is None
    checks.update(None, DEFAULT)
    checks.update(b"web", OWN)
    assert checks.in_force(b"web") == OWN
    assert checks.in_force(b"api") == checks.in_force(None) == DEFAULT
    checks.update(b"web", None)
    assert checks.in_force(b"web") == DEFAULT


def test_check_of_type_none_is_a_check_of_its_own():
    checks = Checks()
    checks.update(None, DEFAULT)
    checks.update(b"web", NONE)
    assert checks.has_own(b"web")
    assert checks.in_force(b"web") == NONE
    assert not checks.has_own(b"api")


def test_update_tells_whether_anything_changes():
    checks = Checks()
    assert [checks.update(b"web", check) for check in (None, OWN, OWN, NONE, None, None)] == [
        *(False, True, False),
        *(True, True, False),
    ]


@pytest.mark.parametrize("service", [b"web", None])
def test_invalid_check_without_a_valid_one_is_one_by_tcp_unless_there_is_a_default(service):
    checks = Checks()
    assert checks.note(service, "tree", invalid=True)
    assert not checks.note(service, "etcd", invalid=True)
    assert checks.in_force(b"web") == HealthCheck()
    assert checks.in_force(b"api") == (HealthCheck() if service is None else None)
    assert not checks.has_own(b"web")
    checks.update(b"web", NONE)
    assert checks.in_force(b"web") == NONE
    checks.update(b"web", None)
    checks.update(None, DEFAULT)
    assert checks.in_force(b"web") == DEFAULT
    checks.update(None, None)
    assert not checks.note(service, "tree", invalid=False)
    assert checks.in_force(b"web") == HealthCheck()
    assert checks.note(service, "etcd", invalid=False)
    assert checks.in_force(b"web") is None
    assert not checks.note(service, "etcd", invalid=False)


LABEL, OPERATOR = BackendCheck(HealthCheck(interval=3), "label"), BackendCheck(HealthCheck(interval=4))
INVALID = BackendCheck(origin="invalid")


@pytest.mark.parametrize(
    ("configured", "operator", "label", "invalid"),
    [
        ({}, OPERATOR.check, LABEL.check, HealthCheck()),
        ({None: DEFAULT}, OPERATOR.check, LABEL.check, DEFAULT),
        ({None: DEFAULT, b"web": OWN}, OPERATOR.check, OWN, OWN),
        ({b"web": NONE}, OPERATOR.check, NONE, NONE),
    ],
)
def test_check_of_a_backend_has_its_place_in_the_order(configured, operator, label, invalid):
    checks = Checks()
    for service, check in configured.items():
        checks.update(service, check)
    assert [checks.in_force(b"web", own) for own in (OPERATOR, LABEL, INVALID)] == [operator, label, invalid]


def test_label_stands_in_for_an_invalid_check_of_the_service():
    checks = Checks()
    checks.note(b"web", "tree", invalid=True)
    assert checks.in_force(b"web", LABEL) == LABEL.check
    assert checks.in_force(b"web") == HealthCheck()


def test_check_is_local_if_the_one_in_force_is_from_files():
    checks = Checks()
    assert checks.update(None, DEFAULT, local=True)
    assert checks.is_local(b"web")
    checks.update(b"web", OWN)
    assert not checks.is_local(b"web")
    assert checks.is_local(b"api")
    assert checks.update(b"web", OWN, local=True), "the same value from another source"
    assert checks.is_local(b"web")
    checks.update(None, DEFAULT)
    assert not checks.is_local(b"api")
    assert checks.is_local(b"web")


def test_check_in_place_of_invalid_ones_is_local_if_all_of_these_are():
    checks = Checks()
    checks.note(b"web", "file:///etc/clusterf", invalid=True)
    assert checks.is_local(b"web")
    assert checks.note(None, "etcd://10.0.0.1:2379/clusterf", invalid=True)
    assert not checks.is_local(b"web")
    checks.note(None, "etcd://10.0.0.1:2379/clusterf", invalid=False)
    assert checks.note(b"web", "etcd://10.0.0.1:2379/clusterf", invalid=True), "what stands for it may be refused now"
    assert not checks.is_local(b"web")
