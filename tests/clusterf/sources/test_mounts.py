import os

import pytest

from clusterf.sources.mounts import Mounts, Place
from tests.clusterf.support.fake_mounts import FakeMounts


@pytest.fixture
def directory(tmp_path):
    directory = tmp_path / "tree"
    directory.mkdir()
    return directory


@pytest.fixture
def fake(monkeypatch):
    return FakeMounts(monkeypatch)


def check(mounts, directory, *, lost=False):
    mounts.check(b"services", os.fsencode(directory), directory.stat().st_dev, lambda: lost)


def test_place_is_recorded_and_forgotten(directory, fake):
    fake.mount(directory, 1000)
    mounts = Mounts()
    check(mounts, directory)
    real = os.fsencode(directory)
    assert dict(mounts.places) == {b"services": Place(real, real, 1000, 1)}
    assert b"services" in mounts
    mounts.forget(b"services")
    assert b"services" not in mounts


def test_unmounted_file_system_is_not_believed_until_accepted(directory, fake):
    fake.mount(directory, 1000)
    mounts = Mounts()
    check(mounts, directory)
    fake.unmount(directory)
    for _ in range(2):
        with pytest.raises(OSError, match="not mounted"):
            check(mounts, directory)
    mounts.accept()
    check(mounts, directory, lost=True)


def test_other_device_is_believed_if_it_has_the_files(directory, fake):
    fake.mount(directory, 1000)
    mounts = Mounts()
    check(mounts, directory)
    fake.devices[directory] = 1001
    with pytest.raises(OSError, match="another file system"):
        check(mounts, directory, lost=True)
    check(mounts, directory)
    assert mounts.places[b"services"].device == 1001


def test_other_file_system_with_the_same_device_number_is_told_by_its_id(directory, fake):
    fake.mount(directory, 1000)
    mounts = Mounts()
    check(mounts, directory)
    fake.file_system = 2
    with pytest.raises(OSError, match="another file system"):
        check(mounts, directory, lost=True)
    check(mounts, directory)
    check(mounts, directory, lost=True)


def test_place_without_an_id_on_record_is_told_by_its_device_number(directory, fake):
    fake.mount(directory, 1000)
    real = os.fsencode(directory)
    mounts = Mounts()
    mounts.expect({b"services": Place(real, real, 1000)})
    check(mounts, directory, lost=True)
    assert mounts.places[b"services"].file_system == 1


def test_expected_place_counts_like_one_that_was_seen(directory, fake):
    real = os.fsencode(directory)
    mounts = Mounts()
    mounts.expect({b"services": Place(real, real, 1000)})
    with pytest.raises(OSError, match="not mounted"):
        check(mounts, directory)
