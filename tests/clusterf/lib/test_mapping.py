import pytest

from clusterf.lib.mapping import put


@pytest.mark.parametrize(
    ("key", "value", "changed", "after"),
    [
        ("a", 1, False, {"a": 1}),
        ("a", 2, True, {"a": 2}),
        ("b", 1, True, {"a": 1, "b": 1}),
        ("a", None, True, {}),
        ("b", None, False, {"a": 1}),
    ],
)
def test_put_reports_whether_it_changed_the_mapping(key, value, changed, after):
    mapping = {"a": 1}
    assert put(mapping, key, value) is changed
    assert mapping == after
