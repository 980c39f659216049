import pytest
from hypothesis import given
from hypothesis import strategies as st

from clusterf.config.keys import parse_key, path_of
from clusterf.config.model import BackendKey, FrontendKey, HealthKey, RouteKey, VipKey

NAMES = st.binary(min_size=1).filter(lambda name: b"/" not in name)
KEYS = st.one_of(
    st.builds(FrontendKey, NAMES),
    st.builds(BackendKey, NAMES, NAMES),
    st.builds(HealthKey, st.none() | NAMES),
    st.builds(RouteKey, NAMES),
    st.builds(VipKey, NAMES),
)
WORDS = st.sampled_from([b"services", b"frontend", b"backends", b"health", b"routes", b"vips", b"", b"web"])


@pytest.mark.parametrize(
    ("path", "key"),
    [
        (b"services/web/frontend", FrontendKey(b"web")),
        (b"services/web/backends/1", BackendKey(b"web", b"1")),
        (b"services/web/health", HealthKey(b"web")),
        (b"health", HealthKey(None)),
        (b"routes/test1", RouteKey(b"test1")),
        (b"vips/team a", VipKey(b"team a")),
        (b"services/health/health", HealthKey(b"health")),
        (b"services/a b\n\xff/backends/\x00", BackendKey(b"a b\n\xff", b"\x00")),
    ],
)
def test_path_names_a_key(path, key):
    assert parse_key(path) == key
    assert path_of(key) == path


@pytest.mark.parametrize(
    "path",
    [
        b"",
        b"/",
        b"services",
        b"services/web",
        b"services/web/extra",
        b"services/web/backends",
        b"services/web/backends/",
        b"services/web/backends/1/2",
        b"services//frontend",
        b"services//backends/1",
        b"services//health",
        b"services/web/frontend/",
        b"/services/web/frontend",
        b"Services/web/frontend",
        b"services/web/Frontend",
        b"HEALTH",
        b"health/",
        b"health/web",
        b"routes",
        b"routes/",
        b"routes/a/b",
        b"vips",
        b"vips/",
        b"vips/a/b",
    ],
)
def test_any_other_path_names_no_key(path):
    assert parse_key(path) is None


@given(KEYS)
def test_path_of_a_key_names_that_key(key):
    assert parse_key(path_of(key)) == key


@given(st.lists(WORDS, max_size=5).map(b"/".join) | st.binary())
def test_path_that_names_a_key_is_its_path(path):
    key = parse_key(path)
    assert key is None or path_of(key) == path
