from clusterf.config.model import Backend, BackendKey, FrontendKey, Route, RouteKey
from clusterf.sources.overlay import Overlay

WEB = BackendKey(b"web", b"1")
LOW, HIGH = Backend(weight=1), Backend(weight=2)


def test_value_of_a_single_source_is_in_force():
    layers = Overlay([True])
    assert layers.put(0, WEB, LOW) == (LOW, 0)
    assert layers.put(0, WEB, HIGH) == (HIGH, 0)
    assert layers.put(0, WEB, None)[0] is None


def test_later_source_wins_in_any_order():
    layers = Overlay([True, True])
    assert layers.put(1, WEB, HIGH) == (HIGH, 1)
    assert layers.put(0, WEB, LOW) == (HIGH, 1)
    assert layers.put(0, WEB, None) == (HIGH, 1)


def test_value_of_an_earlier_source_is_in_force_again_when_the_later_one_is_deleted():
    layers = Overlay([True, True, True])
    layers.put(0, WEB, LOW)
    layers.put(2, WEB, HIGH)
    assert layers.put(2, WEB, None) == (LOW, 0)
    assert layers.put(2, WEB, None) == (LOW, 0)
    assert layers.put(0, WEB, None)[0] is None


def test_keys_are_independent():
    layers = Overlay([True, True])
    layers.put(0, WEB, LOW)
    assert layers.put(1, BackendKey(b"web", b"2"), None)[0] is None
    assert layers.put(1, WEB, None) == (LOW, 0)


def test_routes_are_accepted_from_the_chosen_sources_only():
    layers = Overlay([True, False])
    assert layers.accepts(0, RouteKey(b"r"))
    assert not layers.accepts(1, RouteKey(b"r"))
    assert layers.accepts(1, FrontendKey(b"web"))
    assert layers.put(0, RouteKey(b"r"), Route()) == (Route(), 0)
