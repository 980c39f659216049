import pytest

from clusterf.lib.store import Store
from clusterf.sources.lineage import Lineage
from clusterf.sources.source_record import SourceRecord

OURS, OTHER = 0xAA, 0xBB


@pytest.fixture
def record(tmp_path):
    return SourceRecord("etcd://h/x", Store(tmp_path / "config.db"))


@pytest.fixture
def lineage(record):
    """A lineage that knows our cluster at revision 100."""
    lineage = Lineage(record, 0)
    lineage.judge(OURS, 100, deleted(True))
    assert lineage.doubt is None
    return lineage


def deleted(answer):
    return lambda: answer


def never():
    raise AssertionError("the history was asked for")


@pytest.mark.parametrize("proven", [True, None])
def test_same_cluster_that_is_not_older_is_believed(lineage, proven):
    lineage.judge(OURS, 100, deleted(proven))
    lineage.judge(OURS, 101, deleted(proven))
    assert lineage.doubt is None
    assert lineage.revisions == [101]


def test_events_count_as_seen(lineage):
    lineage.see(105)
    assert lineage.revisions == [105, 100]
    lineage.judge(OURS, 104, never)
    assert lineage.doubt == "the revision of etcd went back from 105 to 104"


def test_first_cluster_is_believed_and_recorded(record):
    Lineage(record, 0).judge(OURS, 5, deleted(None))
    after = Lineage(record, 5)
    after.judge(OTHER, 9, never)
    assert after.doubt == "another etcd cluster answers, bb instead of aa"


def test_copy_without_a_recorded_cluster_counts_by_its_revision(record):
    lineage = Lineage(record, 50)
    lineage.judge(OURS, 50, deleted(True))
    assert lineage.doubt is None


def test_copy_without_a_recorded_cluster_is_not_older_than_etcd(record):
    lineage = Lineage(record, 50)
    lineage.judge(OURS, 49, never)
    assert lineage.doubt == "the revision of etcd went back from 50 to 49"


@pytest.mark.parametrize("revision", [1, 100, 1000])
def test_other_cluster_is_in_doubt_until_the_known_one_is_back(lineage, revision):
    lineage.judge(OTHER, revision, never)
    assert lineage.doubt == "another etcd cluster answers, bb instead of aa"
    lineage.see(5000)
    lineage.judge(OTHER, revision + 5000, never)
    assert lineage.doubt
    lineage.judge(OURS, 100, deleted(None))
    assert lineage.doubt is None


@pytest.mark.parametrize(("answer", "ends"), [(True, True), (False, False), (None, False)])
def test_etcd_that_went_back_is_in_doubt_until_its_history_has_what_was_known(lineage, answer, ends):
    lineage.judge(OURS, 99, never)
    assert lineage.doubt == "the revision of etcd went back from 100 to 99"
    lineage.judge(OURS, 120, deleted(answer))
    assert (lineage.doubt is None) == ends


def test_history_without_the_known_keys_is_in_doubt(lineage):
    lineage.judge(OURS, 120, deleted(False))
    assert lineage.doubt == "the history of etcd lacks keys that it had at revision 100"
    lineage.judge(OURS, 130, deleted(None))
    assert lineage.doubt


def test_known_cluster_that_went_back_is_not_believed_because_another_answered_meanwhile(lineage):
    lineage.judge(OURS, 99, never)
    lineage.judge(OTHER, 500, never)
    lineage.judge(OURS, 101, deleted(None))
    assert lineage.doubt


@pytest.mark.parametrize(("cluster", "revision"), [(OTHER, 500), (OURS, 99)])
def test_doubt_lasts_over_a_restart(lineage, record, cluster, revision):
    lineage.judge(cluster, revision, never)
    after = Lineage(record, 100)
    assert after.doubt == lineage.doubt
    after.judge(cluster, revision, never)
    assert after.doubt == lineage.doubt
    after.judge(OURS, 101, deleted(True))
    assert Lineage(record, 101).doubt is None


@pytest.mark.parametrize(("cluster", "revision"), [(OTHER, 500), (OURS, 99)])
def test_accepted_cluster_is_the_known_one_from_then_on(lineage, record, cluster, revision):
    lineage.judge(cluster, revision, never)
    lineage.accept(cluster, revision)
    assert lineage.doubt is None
    lineage.judge(cluster, revision, deleted(True))
    after = Lineage(record, revision)
    after.judge(cluster, revision, deleted(True))
    assert lineage.doubt is after.doubt is None
