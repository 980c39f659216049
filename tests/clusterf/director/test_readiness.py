from clusterf.director.readiness import Readiness


def test_all_links_and_the_configuration_are_awaited():
    readiness = Readiness(["health0", "health1"], patient=False)
    assert not readiness.is_ready(0)
    readiness.judged("health0")
    readiness.configured()
    assert not readiness.is_ready(0)
    readiness.judged("health1")
    assert readiness.is_ready(0)
    assert readiness.is_ready(1), "nobody waits for verdicts that are not there"


def test_verdicts_are_awaited_until_patience_is_over():
    readiness = Readiness([], patient=True)
    readiness.configured()
    assert not readiness.is_ready(1)
    assert readiness.is_ready(0)
    readiness.lose_patience()
    assert readiness.is_ready(1)


def test_configuration_is_awaited_though_patience_is_over():
    readiness = Readiness([], patient=True)
    readiness.lose_patience()
    assert not readiness.is_ready(0)
    readiness.configured()
    assert readiness.is_ready(7)
