import threading

import pytest

from clusterf.leases.lease_file import LeaseFile
from clusterf.leases.lease_record import LeaseRecord

PREFIX = b"/clusterf/"


@pytest.fixture
def file(tmp_path):
    return LeaseFile(tmp_path / "lease", 10, PREFIX)


def test_lease_and_its_engine_are_recorded(file, tmp_path):
    record = LeaseRecord(file)
    assert record.read(5) == 0
    record.identify("E")
    record.write(7)
    record.close()
    again = LeaseRecord(LeaseFile(tmp_path / "lease", 10, PREFIX))
    assert (again.read(5), again.found_engine) == (7, "E")
    again.close()


def test_disk_that_hangs_is_not_waited_for(file, monkeypatch):
    disk = threading.Event()
    monkeypatch.setattr("clusterf.leases.lease_record.PATIENCE", 0.01)
    monkeypatch.setattr(LeaseFile, "read", lambda _: disk.wait(10) and 7)
    record = LeaseRecord(file)
    assert record.read(0.01) == 0
    record.write(8)
    record.close()
    disk.set()
