import pytest

from clusterf.config.model import Backend
from clusterf.etcd.errors import EtcdError
from clusterf.sources.reader import follow, read
from clusterf.sources.url import Source
from tests.clusterf.support.fake_etcd import LOCATION, URL, path, weight


@pytest.fixture
def tree(tmp_path):
    for name, text in {"1": '{"weight": 1}', "2": '{"weight": -1}'}.items():
        file = tmp_path / "services/web/backends" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return Source(f"file://{tmp_path}", tree=str(tmp_path))


def test_tree_is_read_sorted_with_its_problems(tree):
    one, two = read(tree)
    assert (one.path, one.valid, one.update.value) == (path(1), b'{"weight": 1}', Backend(weight=1))
    assert (two.path, two.valid, two.raw, two.update.value) == (path(2), None, b'{"weight": -1}', None)
    assert [problem.fatal for problem in two.update.problems] == [True]


def test_unreadable_file_has_no_bytes(tree, tmp_path):
    (tmp_path / "health").symlink_to("/dev/null")
    (health, *_) = read(tree)
    assert (health.path, health.raw, health.valid) == (b"health", None, None)
    assert "unreadable" in str(health.update.problems[0])


def test_etcd_is_read_sorted(etcd):
    for number in (2, 1):
        etcd.change(path(number), weight(number))
    contents = read(Source(URL, etcd=LOCATION))
    assert [(content.path, content.valid) for content in contents] == [(path(1), weight(1)), (path(2), weight(2))]


def test_unreachable_etcd_is_an_error_with_all_reasons(etcd):
    etcd.down = set(LOCATION.endpoints)
    with pytest.raises(EtcdError, match=r"^a:2379: refused; b:2379: refused$"):
        read(Source(URL, etcd=LOCATION))


def test_follow_yields_the_content_and_then_the_changes(etcd):
    etcd.change(path(1), weight(1))
    updates = follow(Source(URL, etcd=LOCATION))
    (first,) = next(updates)
    assert (first.path, first.value) == (path(1), Backend(weight=1))
    etcd.change(path(1), weight(2))
    (second,) = next(updates)
    assert second.value == Backend(weight=2)
    updates.close()


def test_follow_yields_the_content_of_a_tree(tree):
    updates = follow(tree)
    assert path(1) in {update.path for update in next(updates)}
    updates.close()
