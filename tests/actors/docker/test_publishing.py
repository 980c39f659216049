import pytest

from actors.docker.key_publisher import Publish, PublishOnly
from actors.docker.publishing import Publishing
from clusterf.docker.publications import Changes


class Told(list):
    """What a publisher was told, by one whose keys are `keys`."""

    def __init__(self, **recorded):
        self.keys = {}
        self.publishing = Publishing(
            self.append, lambda: self.keys, {path.encode(): value for path, value in recorded.items()}
        )

    def change(self, *, complete=False, **keys):
        changes = {path.encode(): value for path, value in keys.items()}
        self.keys.update(changes)
        self.publishing.changed(Changes(changes, {}, {}), complete=complete)


@pytest.mark.parametrize("found_first", [True, False])
def test_all_keys_come_first_and_then_changes(found_first):
    told = Told()
    if found_first:
        told.publishing.found({})
    told.change(a=b"1", complete=True)
    if not found_first:
        assert told == []
        told.publishing.found({})
    told.change(b=b"1")
    told.change(complete=True)
    assert told == [PublishOnly({b"a": b"1"}), Publish(b"b", b"1")]


def test_keys_of_an_incomplete_inventory_are_told_one_by_one():
    told = Told()
    told.change(a=b"1")
    told.publishing.found({})
    told.change(b=b"1")
    assert told == [Publish(b"a", b"1"), Publish(b"b", b"1")]


def test_what_is_on_record_is_published_once_if_the_engine_is_away_and_nothing_better_is_known():
    told = Told(a=b"old", b=b"old", c=b"old")
    assert told.publishing.engine_is_away() == {}  # it is not known yet what is published
    told.publishing.found({b"b": b"found"})
    told.change(a=b"1")
    assert told.publishing.engine_is_away() == {b"c": b"old"}
    assert told.publishing.engine_is_away() == {}
    assert told == [Publish(b"a", b"1"), Publish(b"c", b"old")]


def test_what_is_on_record_is_not_published_once_the_inventory_is_complete():
    told = Told(a=b"old")
    told.publishing.found({})
    told.change(complete=True)
    assert told.publishing.engine_is_away() == {}
    assert told == [PublishOnly({})]
