from clusterf.config.problems import Problem
from clusterf.docker.publication import NOTHING, Publication
from clusterf.docker.publications import Publications
from clusterf.docker.record import ContainerRecord

KEY = b"services/web/backends/c1"
PROBLEM = Problem("docker", b"web", "", "wrong", fatal=True)


def publish(publications, **by_id):
    """Replace publications; return the changes but for records."""
    return publications.update(by_id, {})[:2]


def backend(value=b"{}", *, problems=()):
    return Publication({KEY: value}, tuple(problems))


def test_new_changed_and_removed_keys_are_reported():
    publications = Publications()
    assert publish(publications, c1=backend()) == ({KEY: b"{}"}, {})
    assert publish(publications, c1=backend(value=b"7")) == ({KEY: b"7"}, {})
    assert publications.keys == {KEY: b"7"}
    assert publish(publications, c1=NOTHING) == ({KEY: None}, {})
    assert publications.keys == {}


def test_unchanged_publication_is_no_change():
    publications = Publications()
    full = backend(problems=[PROBLEM])
    publish(publications, c1=full)
    assert publish(publications, c1=full, c2=NOTHING) == ({}, {})


def test_problems_are_reported_when_they_begin_change_and_end():
    publications = Publications()
    assert publish(publications, c1=backend(problems=[PROBLEM]))[1] == {"c1": (PROBLEM,)}
    assert publish(publications, c1=backend(value=b"7", problems=[PROBLEM]))[1] == {}
    assert publish(publications, c1=backend())[1] == {"c1": ()}


def test_records_are_passed_on():
    records = {"c1": ContainerRecord(5), "c2": None}
    assert Publications().update({}, records) == ({}, {}, records)
