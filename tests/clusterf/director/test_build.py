import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clusterf.config.model import Backend, BackendKey, Frontend, FrontendKey, HealthCheck, HealthKey
from clusterf.director.build import build
from clusterf.ipvs.ipvsadm import lines
from tests.clusterf.support.one_service import ONE, VIP4, WEB, B, F
from tests.clusterf.support.pipeline import NODE
from tests.clusterf.support.reference_model import expected
from tests.clusterf.support.strategies import BACKENDS, SERVICES, backends, frontends, node_defaults
from tests.examples import examples

configurations = st.builds(
    lambda fronts, backs: fronts | backs,
    st.dictionaries(st.builds(FrontendKey, SERVICES), frontends, max_size=3),
    st.dictionaries(st.builds(BackendKey, SERVICES, BACKENDS), backends, max_size=8),
)


def test_table_has_the_weights_of_backends_that_are_up():
    table, problems = build({F: WEB, B: ONE, HealthKey(b"web"): HealthCheck()}, NODE)
    assert list(lines(table)) == [
        "-A -t 198.51.100.1:80 -s wlc",
        "-a -t 198.51.100.1:80 -r 10.0.0.1:8080 -m -w 10",
    ]
    assert problems == []


def test_conflicts_between_objects_are_returned():
    _, problems = build({F: WEB, FrontendKey(b"api"): WEB}, NODE)
    assert list(map(str, problems)) == [
        "configuration: services/web/frontend: 198.51.100.1:80/tcp belongs to service api"
    ]


@pytest.mark.parametrize("elide", [False, True])
def test_virtual_server_without_backends_is_elided_if_asked(elide):
    table, _ = build({F: Frontend(ipv4=VIP4, tcp=80), B: Backend()}, NODE, elide=elide)
    assert len(table.virtuals) == (0 if elide else 1)


@settings(max_examples=examples(50), deadline=None)
@given(configurations, node_defaults, st.booleans())
def test_table_is_that_of_the_reference_model(configuration, defaults, elide):
    table, problems = build(configuration, defaults, elide=elide)
    assert (table, {problem.path for problem in problems}) == expected(configuration, defaults, elide=elide)
