from clusterf.config.problems import Problem
from clusterf.docker.check_offers import CheckOffer
from clusterf.docker.publication import NOTHING, Publication
from clusterf.docker.publications import Publications
from clusterf.docker.record import ContainerRecord

KEY, OTHER, CHECK = b"services/web/backends/c1", b"services/web/backends/c2", b"services/web/health"
PROBLEM = Problem("docker", b"web", "", "wrong", fatal=True)


def publish(publications, **by_id):
    """Replace publications; return the changes but for records."""
    return publications.update(by_id, {})[:3]


def backend(key=KEY, value=b"{}", *, check=None, problems=()):
    return Publication({key: value}, {CHECK: check} if check else {}, tuple(problems))


def test_new_changed_and_removed_keys_are_reported():
    publications = Publications()
    assert publish(publications, c1=backend()) == ({KEY: b"{}"}, {}, {})
    assert publish(publications, c1=backend(value=b"7")) == ({KEY: b"7"}, {}, {})
    assert publications.keys == {KEY: b"7"}
    assert publish(publications, c1=NOTHING) == ({KEY: None}, {}, {})
    assert publications.keys == {}


def test_unchanged_publication_is_no_change():
    publications = Publications()
    full = backend(check=CheckOffer(1, "c1", b"tcp"), problems=[PROBLEM])
    publish(publications, c1=full)
    assert publish(publications, c1=full, c2=NOTHING) == ({}, {}, {})


def test_problems_are_reported_when_they_begin_change_and_end():
    publications = Publications()
    assert publish(publications, c1=backend(problems=[PROBLEM]))[2] == {"c1": (PROBLEM,)}
    assert publish(publications, c1=backend(value=b"7", problems=[PROBLEM]))[2] == {}
    assert publish(publications, c1=backend())[2] == {"c1": ()}


def test_newest_check_is_published_and_a_conflict_is_a_warning():
    publications = Publications()
    old, new = CheckOffer(1, "c1", b"old"), CheckOffer(2, "c2", b"new")
    assert publish(publications, c1=backend(check=old)) == ({KEY: b"{}"}, {CHECK: b"old"}, {})
    keys, checks, problems = publish(publications, c2=backend(OTHER, check=new))
    assert (keys, checks) == ({OTHER: b"{}"}, {CHECK: b"new"})
    reason = "containers have different health labels: using that of the one started last, c2"
    assert problems == {CHECK.decode(): (Problem("docker", CHECK, "", reason, fatal=False),)}
    assert publish(publications, c1=NOTHING) == ({KEY: None}, {}, {CHECK.decode(): ()})
    assert publish(publications, c2=NOTHING) == ({OTHER: None}, {CHECK: None}, {})
    assert publications.checks == {}


def test_records_are_passed_on():
    records = {"c1": ContainerRecord(5), "c2": None}
    assert Publications().update({}, records) == ({}, {}, {}, records)
