import pytest

from clusterf.config.model import HealthCheck
from clusterf.health.policies import HealthPolicy, Policies, policy_of

SLOW, QUICK = policy_of(HealthCheck(interval=10, fall=6)), policy_of(HealthCheck(interval=1, timeout=1, fall=2))


@pytest.fixture
def policies():
    return Policies()


def test_check_of_type_none_says_what_health_does_to_backends_with_checks_of_their_own():
    assert policy_of(HealthCheck(type="none")) is None
    check = HealthCheck(type="none", on_down="remove", panic_threshold=50)
    assert policy_of(check) == HealthPolicy(False, True, 50, checks=False)


def test_policies_of_equal_checks_are_one_object():
    assert policy_of(HealthCheck(path="/a")) is policy_of(HealthCheck(path="/a"))


def test_own_check_counts_before_that_of_the_service(policies):
    assert policies.of(b"web", b"1") is None
    assert policies.put(b"web", SLOW)
    assert not policies.put(b"web", SLOW)
    policies.put_own(b"web", b"1", QUICK)
    assert policies.of(b"web", b"1") == QUICK
    assert policies.of(b"web", b"2") == SLOW
    policies.put_own(b"web", b"1", None)
    assert policies.of(b"web", b"1") == SLOW


def test_service_without_a_check_has_one_for_no_backend_but_a_threshold(policies):
    policies.put(b"web", policy_of(HealthCheck(type="none", panic_threshold=50)))
    assert policies.of(b"web", b"1") is None
    assert policies.panic_threshold(b"web") == 50
    assert policies.panic_threshold(b"api") == 0


def test_own_threshold_counts_for_nothing(policies):
    policies.put_own(b"web", b"1", policy_of(HealthCheck(panic_threshold=50)))
    assert policies.panic_threshold(b"web") == 0


def test_check_that_has_gone_counts_until_all_is_settled(policies):
    assert policies.lapse(b"web", b"1") == 0
    policies.put(b"web", SLOW)
    policies.put_own(b"web", b"1", QUICK)
    policies.settled()
    policies.put(b"web", None)
    policies.put_own(b"web", b"1", None)
    assert [policies.lapse(b"web", name) for name in (b"1", b"2")] == [2, 60]
    policies.settled()
    assert [policies.lapse(b"web", name) for name in (b"1", b"2")] == [0, 0]


def test_own_check_that_goes_counts_before_that_of_the_service(policies):
    policies.put(b"web", SLOW)
    policies.put_own(b"web", b"1", QUICK)
    policies.settled()
    policies.put_own(b"web", b"1", None)
    assert policies.lapse(b"web", b"1") == 2
    policies.settled()
    assert policies.lapse(b"web", b"1") == 60
