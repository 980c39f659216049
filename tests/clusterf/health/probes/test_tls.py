import logging

import pytest

from clusterf.config.model import Tls
from clusterf.health.probes import tls as tls_module
from clusterf.health.probes.tls import Contexts, TlsError


def test_context_is_cached_until_its_file_changes(authority, tmp_path):
    contexts = Contexts()
    path = tmp_path / "ca.pem"
    path.write_bytes(authority.pem.read_bytes())
    tls = Tls(ca=str(path))
    first = contexts.get(tls)
    assert contexts.get(tls) is first
    assert contexts.get(Tls(ca=str(path), server_name="x")) is first
    path.write_bytes("größe\n".encode() + authority.pem.read_bytes())
    second = contexts.get(tls)
    assert second is not first
    assert second.get_ca_certs() == first.get_ca_certs() != []
    assert contexts.get(Tls()) is contexts.get(Tls())
    assert contexts.get(Tls(verify=False)) is contexts.get(Tls(verify=False, ca=str(path)))


def test_previous_context_is_kept_while_its_file_is_unreadable(authority, tmp_path, caplog):
    contexts = Contexts()
    path = tmp_path / "ca.pem"
    path.write_bytes(authority.pem.read_bytes())
    tls = Tls(ca=str(path))
    first = contexts.get(tls)
    path.unlink()
    for _ in range(3):
        assert contexts.get(tls) is first
    path.write_text("half a file")
    for _ in range(3):
        assert contexts.get(tls) is first
    assert [record.levelno for record in caplog.records] == [logging.WARNING] * 2, "each problem is logged once"
    path.write_bytes(authority.pem.read_bytes())
    assert contexts.get(tls) is not first
    assert contexts.get(Tls(ca=str(path))) is not first


def test_number_of_cached_contexts_is_limited(authority, tmp_path, monkeypatch):
    monkeypatch.setattr(tls_module, "_MAX_FILES", 2)
    contexts = Contexts()
    for name in "abc":
        (tmp_path / name).write_bytes(authority.pem.read_bytes())
        contexts.get(Tls(ca=str(tmp_path / name)))
    assert len(contexts._by_file) <= 2
    with pytest.raises(TlsError, match="no such file"):
        contexts.get(Tls(ca=str(tmp_path / "d")))
