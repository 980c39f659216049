import uuid

from clusterf.host import boot


def test_boot_id_is_the_kernels(monkeypatch, tmp_path):
    assert uuid.UUID(boot.boot_id())
    (tmp_path / "boot_id").write_text("abc\n")
    monkeypatch.setattr(boot, "_BOOT_ID", tmp_path / "boot_id")
    assert boot.boot_id() == "abc"


def test_machine_id_is_empty_where_there_is_none(monkeypatch, tmp_path):
    monkeypatch.setattr(boot, "_MACHINE_ID", tmp_path / "machine-id")
    assert boot.machine_id() == ""
    (tmp_path / "machine-id").write_text("abc\n")
    assert boot.machine_id() == "abc"
