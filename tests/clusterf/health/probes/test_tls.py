import ast
from pathlib import Path

import pytest

from clusterf.config.model import HealthCheck, Tls
from clusterf.health.authorities import Authorities
from clusterf.health.probes import tls as tls_module
from clusterf.health.probes.tls import Contexts, NoAuthoritiesError
from tests.servers import Authority

CA = "/root/ca.pem"
TLS = Tls(ca=CA)
CHECK = HealthCheck(type="https", tls=TLS)


@pytest.fixture
def pem(authority):
    return authority.pem.read_text()


def test_context_is_cached_until_its_authorities_change(pem, tmp_path):
    contexts = Contexts()
    contexts.put(CA, Authorities(pem))
    first = contexts.get(TLS)
    assert contexts.get(TLS) is first
    assert contexts.get(Tls(ca=CA, server_name="x")) is first
    contexts.put(CA, Authorities(pem))
    assert contexts.get(TLS) is first
    contexts.put(CA, Authorities(Authority(tmp_path).pem.read_text()))
    second = contexts.get(TLS)
    assert second is not first
    assert len(first.get_ca_certs()) == len(second.get_ca_certs()) == 1
    assert second.get_ca_certs() != first.get_ca_certs()
    assert contexts.get(Tls()) is contexts.get(Tls())
    assert contexts.get(Tls(verify=False)) is contexts.get(Tls(verify=False, ca=CA))


@pytest.mark.parametrize(
    "authorities",
    [
        pytest.param(Authorities(problem="no such file or directory"), id="the config process is new"),
        pytest.param(Authorities(), id="the config process is new, and has not read it"),
        pytest.param(None, id="the config process is new, and knows of no check that names it"),
    ],
)
def test_previous_context_is_kept_while_its_file_is_unreadable(pem, authorities):
    contexts = Contexts()
    contexts.put(CA, Authorities(pem))
    first = contexts.get(TLS)
    contexts.put(CA, Authorities(pem, "no such file or directory"))
    assert contexts.get(TLS) is first
    contexts.put(CA, authorities)
    assert contexts.get(TLS) is first
    assert not contexts.missing_for(CHECK)


def test_there_is_no_context_before_authorities_are_known():
    contexts = Contexts()
    for authorities, missing, reason in (
        (None, CA, "ca: not read yet"),
        (Authorities(), CA, "ca: not read yet"),
        (Authorities(problem="permission denied"), "", "ca: permission denied"),
        (None, CA, "ca: not read yet"),
        (Authorities("no PEM"), "", "ca: no certificates in PEM format"),
    ):
        contexts.put(CA, authorities)
        assert contexts.missing_for(CHECK) == missing
        with pytest.raises(NoAuthoritiesError, match=f"^{reason}$"):
            contexts.get(TLS)
    for check in (HealthCheck(type="https"), HealthCheck(type="https", tls=Tls(ca="/x", verify=False))):
        assert not contexts.missing_for(check)


def test_number_of_contexts_that_no_check_names_is_limited(pem, monkeypatch):
    monkeypatch.setattr(tls_module, "_MAX_FORGOTTEN", 2)
    contexts = Contexts()
    for path in "abcd":
        contexts.put(path, Authorities(pem))
    for path in "abcbd":
        contexts.put(path, None)
    assert list(contexts._files) == ["b", "d"]
    contexts.put("b", Authorities(pem))
    for path in "acd":
        contexts.put(path, Authorities(pem))
        contexts.put(path, None)
    assert list(contexts._files) == ["b", "c", "d"]


def test_no_path_is_opened_here():
    names = {
        node.id for node in ast.walk(ast.parse(Path(tls_module.__file__).read_text())) if isinstance(node, ast.Name)
    }
    assert not names & {"open", "os", "Path"}
    assert "cafile" not in Path(tls_module.__file__).read_text()


def test_no_server_chooses_how_long_the_key_exchange_takes():
    contexts = Contexts()
    for tls in (Tls(verify=False), Tls()):
        names = [cipher["name"] for cipher in contexts.get(tls).get_ciphers()]
        assert any(name.startswith("ECDHE-") for name in names)
        assert not any(name.startswith(("DHE-", "ADH-")) for name in names)
