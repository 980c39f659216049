import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.link.messages import (
    AuthoritiesAre,
    AuthoritiesKey,
    DoubtIs,
    DoubtKey,
    ProblemsAre,
    ProblemsKey,
    Pulse,
    Synced,
    ValueIs,
    VerdictIs,
    WireMessage,
    deletion_of,
    is_deletion,
)
from clusterf.config.model import BackendKey, FrontendKey, HealthCheck, HealthKey, RouteKey
from clusterf.config.problems import Problem
from clusterf.health.authorities import Authorities
from clusterf.health.verdict import Verdict, VerdictKey
from clusterf.lib.addresses import Endpoint
from clusterf.lib.msgpack import dec_hook, enc_hook
from clusterf.sources.doubt import DoubtKind
from tests.clusterf.support.strategies import BACKENDS, SERVICES, backends, checks, frontends, routes

AT = Endpoint(b"\x0a\0\0\1", 80)
KEYS = [
    *(FrontendKey(b"web"), BackendKey(b"web", b"1"), HealthKey(None), HealthKey(b"web"), RouteKey(b"r")),
    *(ProblemsKey("file:///x", b"services/\xff"), VerdictKey(b"web", b"1", AT)),
    DoubtKey("etcd://h/x"),
    AuthoritiesKey("/ca.pem"),
]
problems = st.builds(Problem, st.text(), st.binary(), st.text(), st.text(), st.booleans())
values = st.one_of(
    st.builds(ValueIs, st.builds(FrontendKey, SERVICES), st.none() | frontends),
    st.builds(ValueIs, st.builds(BackendKey, SERVICES, BACKENDS), st.none() | backends),
    st.builds(ValueIs, st.builds(HealthKey, st.none() | SERVICES), st.none() | checks),
    st.builds(ValueIs, st.builds(RouteKey, SERVICES), st.none() | routes),
    st.builds(ProblemsAre, st.builds(ProblemsKey, st.text(), st.binary()), st.lists(problems).map(tuple)),
    st.builds(DoubtIs, st.builds(DoubtKey, st.text(), st.sampled_from(DoubtKind)), st.none() | st.text(min_size=1)),
    st.builds(
        VerdictIs,
        st.builds(VerdictKey, SERVICES, BACKENDS, st.just(AT)),
        st.none() | st.builds(Verdict, st.booleans(), st.floats(0, 1e9), st.text()),
    ),
    st.builds(
        AuthoritiesAre,
        st.builds(AuthoritiesKey, st.text()),
        st.none() | st.builds(Authorities, st.text(), st.text()),
    ),
    st.builds(Synced, st.integers(0, 2**60)),
    st.builds(Pulse, st.floats(allow_nan=False)),
)


@given(values)
def test_message_is_decoded_as_it_was_encoded(message):
    raw = msgspec.msgpack.encode(message, enc_hook=enc_hook)
    assert msgspec.msgpack.decode(raw, type=WireMessage, dec_hook=dec_hook) == message


@pytest.mark.parametrize("key", KEYS)
def test_deletion_has_the_key_and_no_value(key):
    message = deletion_of(key)
    assert message.key == key
    assert is_deletion(message)


def test_value_is_not_a_deletion():
    problem = Problem("file:///x", b"", "", "bad", fatal=True)
    for message in (
        ValueIs(HealthKey(None), HealthCheck()),
        ProblemsAre(KEYS[5], (problem,)),
        DoubtIs(KEYS[7], "another cluster"),
        VerdictIs(KEYS[6], Verdict(up=False, since=0.0)),
        AuthoritiesAre(KEYS[8], Authorities()),
    ):
        assert not is_deletion(message)
