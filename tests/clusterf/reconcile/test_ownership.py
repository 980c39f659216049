from ipaddress import IPv4Address, IPv6Address

import pytest

from clusterf.host import boot
from clusterf.ipvs.table import VirtualServer
from clusterf.lib.addresses import Family, Protocol
from clusterf.lib.store import Store
from clusterf.reconcile.ownership import Ownership

MAPPED = VirtualServer(Family.IPV6, Protocol.UDP, IPv6Address("::ffff:10.1.1.1"), 53)
# and for how many seconds their real servers may drain
VIRTUALS = {
    VirtualServer(Family.IPV4, Protocol.TCP, IPv4Address("10.1.1.1"), 80): 30.0,
    VirtualServer(Family.IPV6, Protocol.SCTP, IPv6Address("2001:db8::1"), 65535): 0.0,
    MAPPED: 0.1,
    VirtualServer(Family.IPV4, fwmark=0xFFFFFFFF): 86400.0,
    VirtualServer(Family.IPV6, fwmark=0xFFFFFFFF): 31.0,
}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "ipvs.db"


def reboot(monkeypatch, tmp_path, name):
    (tmp_path / "boot_id").write_text(f"{name}\n")
    monkeypatch.setattr(boot, "_BOOT_ID", tmp_path / "boot_id")


def test_recorded_virtual_servers_are_loaded_after_a_restart(path):
    assert Ownership(Store(path)).load() == {}
    Ownership(Store(path)).record(VIRTUALS)
    assert Ownership(Store(path)).load() == VIRTUALS


def test_virtual_server_that_is_no_longer_ours_is_removed_from_the_record(path):
    record = Ownership(Store(path))
    record.record(VIRTUALS)
    gone = next(iter(VIRTUALS))
    record.record({gone: None})
    assert Ownership(Store(path)).load() == {v: seconds for v, seconds in VIRTUALS.items() if v != gone}


def test_record_is_where_and_as_earlier_versions_have_it(path):
    Ownership(Store(path)).record(VIRTUALS)
    section = f"owned {boot.boot_id()} {boot.namespace_id()}"
    assert dict(Store(path).items(section)) == {
        b'["IPV4","TCP","10.1.1.1",80,0]': b"",
        b'["IPV6","SCTP","2001:db8::1",65535,0]': b"0.0",
        f'["IPV6","UDP","{IPv6Address("::ffff:10.1.1.1")}",53,0]'.encode(): b"0.1",
        b'["IPV4",null,null,0,4294967295]': b"86400.0",
        b'["IPV6",null,null,0,4294967295]': b"31.0",
    }


def test_what_another_version_of_python_recorded_is_removed_with_what_it_means(path):
    record = Ownership(Store(path))
    # one of these is as this version of Python writes it
    for text in ("::ffff:a01:101", "::ffff:10.1.1.1"):
        record._record.update({f'["IPV6","UDP","{text}",53,0]'.encode(): b"0.1"})
    assert record.load() == {MAPPED: 0.1}
    record.record({MAPPED: None})
    assert Ownership(Store(path)).load() == {}


@pytest.mark.parametrize("when", ["keep", "close"])
def test_what_could_not_be_recorded_is_recorded_when_the_disk_is_well(path, monkeypatch, when):
    record = Ownership(Store(path))
    with monkeypatch.context() as full:
        full.setattr(Store, "_write", lambda self: False)
        record.record(VIRTUALS)
    assert Ownership(Store(path)).load() == {}
    getattr(record, when)()
    assert Ownership(Store(path)).load() == VIRTUALS


@pytest.mark.parametrize("value", [b'"long"', b"{}", b"["])
def test_record_of_a_time_that_is_none_is_ignored_and_logged(path, caplog, value):
    record = Ownership(Store(path))
    record._record.update({b'["IPV4",null,null,0,7]': value})
    assert record.load() == {}
    assert len(caplog.records) == 1


def test_record_of_an_earlier_boot_is_dropped(path, monkeypatch, tmp_path):
    reboot(monkeypatch, tmp_path, "one")
    Ownership(Store(path)).record(VIRTUALS)
    reboot(monkeypatch, tmp_path, "two")
    assert Ownership(Store(path)).load() == {}
    reboot(monkeypatch, tmp_path, "one")
    assert Ownership(Store(path)).load() == {}


def test_each_network_namespace_has_a_record_of_its_own(path):
    here = Ownership(Store(path))
    here.record(VIRTUALS)
    there = Ownership(Store(path))
    there._record._section = f"{there._record._section}0"
    assert there.load() == {}
    assert Ownership(Store(path)).load() == VIRTUALS


def test_invalid_record_is_ignored_and_logged(path, caplog):
    record = Ownership(Store(path))
    record.record(VIRTUALS)
    strange = [b"", b"{}", b'["IPV9",null,null,0,0]', b'["IPV4","TCP","no address",1,0]', b"\xff", b"[]", b"[1,2]"]
    record._record.update(dict.fromkeys(strange, b""))
    assert Ownership(Store(path)).load() == VIRTUALS
    assert len(caplog.records) == len(strange)


def test_nothing_is_recorded_without_a_store():
    record = Ownership(Store(None))
    record.record(VIRTUALS)
    assert record.load() == {}
