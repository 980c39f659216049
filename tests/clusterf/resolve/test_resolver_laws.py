from hypothesis import given, settings
from hypothesis import strategies as st

from clusterf.config.model import BackendKey, FrontendKey, VipKey
from clusterf.config.model import RouteKey as R
from tests.clusterf.support.left_behind import left_behind
from tests.clusterf.support.pipeline import Pipeline
from tests.clusterf.support.reference_model import expected
from tests.clusterf.support.strategies import (
    BACKENDS,
    RULES,
    SERVICES,
    backends,
    frontends,
    node_defaults,
    routes,
    rules,
    updates,
)
from tests.examples import examples

FLUSH = None
history = st.lists(st.just(FLUSH) | updates, max_size=40)
whole = st.builds(
    lambda fronts, backs, ways, vips: fronts | backs | ways | vips,
    st.dictionaries(st.builds(FrontendKey, SERVICES), frontends, max_size=3),
    st.dictionaries(st.builds(BackendKey, SERVICES, BACKENDS), backends, max_size=8),
    st.dictionaries(st.builds(R, st.sampled_from([b"q", b"r", b"s", b"t"])), routes, max_size=4),
    st.dictionaries(st.builds(VipKey, RULES), rules, max_size=3),
)


@settings(max_examples=examples(400), deadline=None)
@given(history, node_defaults, st.booleans())
def test_any_history_ends_in_the_table_of_the_reference_model(changes, defaults, elide):
    pipeline, configuration = Pipeline(defaults, elide=elide), {}
    for change in [*changes, FLUSH]:
        if change is FLUSH:
            pipeline.flush()
            table, reported = expected(configuration, defaults, elide=elide)
            assert pipeline.table == table
            assert {problem.path for problem in pipeline.outstanding} == reported
        else:
            key, value = change
            pipeline.resolver.update(key, value)
            configuration.pop(key, None)
            configuration.update({} if value is None else {key: value})
    anew = Pipeline.of(configuration, defaults, elide=elide)
    assert anew.table == pipeline.table
    assert anew.outstanding == pipeline.outstanding


@settings(max_examples=examples(150), deadline=None)
@given(whole, node_defaults, st.data())
def test_order_of_updates_does_not_matter(configuration, defaults, data):
    straight = Pipeline.of(configuration, defaults)
    mixed = Pipeline(defaults)
    for key in data.draw(st.permutations(list(configuration))):
        mixed.put(key, configuration[key])
    assert mixed.table == straight.table == expected(configuration, defaults)[0]
    assert mixed.outstanding == straight.outstanding


@settings(max_examples=examples(100), deadline=None)
@given(whole, node_defaults, st.booleans())
def test_nothing_is_kept_of_a_configuration_that_was_deleted(configuration, defaults, elide):
    pipeline = Pipeline.of(configuration, defaults, elide=elide)
    for key in configuration:
        pipeline.resolver.update(key, None)
    pipeline.flush()
    assert not pipeline.table.virtuals
    assert not pipeline.outstanding
    for part in (pipeline.resolver, pipeline.merger):
        assert left_behind(part) == {}
