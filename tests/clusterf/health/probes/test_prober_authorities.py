"""Probes that wait for the authorities which their check names, with a real server."""

import asyncio

import pytest

from clusterf.config.model import HealthCheck, Tls
from clusterf.health.authorities import Authorities
from clusterf.health.probes import prober as prober_module
from clusterf.health.targets import Target
from tests.servers import Server, answer

PATH = "/root/only/ca.pem"
CHECK = HealthCheck(type="https", tls=Tls(ca=PATH), timeout=5)


@pytest.fixture
def server(authority):
    with Server(answer(), tls=authority.good("127.0.0.1")) as server:
        yield server


@pytest.fixture
def probe(runner, server):
    """Starts a probe, and returns the future of its result."""

    def probe(check=CHECK):
        future = runner.loop.create_future()
        runner.prober.start(Target(server.endpoint, check), future.set_result)
        return future

    return probe


def finish(runner, futures):
    return runner.loop.run_until_complete(asyncio.wait_for(asyncio.gather(*futures), 10))


def test_probe_waits_for_its_authorities(runner, probe, server, authority):
    futures = [probe(), probe()]
    runner.prober.set_authorities("/other", Authorities(problem="no such file or directory"))
    runner.prober.set_authorities(PATH, Authorities())
    assert finish(runner, [probe(HealthCheck(type="tcp"))])[0].ok
    assert not any(future.done() for future in futures)
    assert (runner.prober.under_way, runner.prober.waiting) == (0, 2)
    runner.prober.set_authorities(PATH, Authorities(authority.pem.read_text()))
    assert all(result.ok and result.duration < 5 for result in finish(runner, futures))


@pytest.mark.parametrize(
    ("authorities", "reason"),
    [
        (Authorities(problem="permission denied"), "TLS: ca: permission denied"),
        (None, "TLS: ca: not read yet"),
    ],
)
def test_probe_whose_authorities_cannot_be_read_is_a_local_failure(runner, probe, server, authorities, reason, caplog):
    future = probe()
    runner.prober.set_authorities(PATH, authorities)
    [result] = finish(runner, [future])
    assert (result.ok, result.reason, result.local) == (False, reason, True)
    assert server.accepted == 0
    assert caplog.messages == [f"health: cannot probe: {reason} (verdicts unchanged)"]


def test_probe_does_not_wait_for_ever(runner, probe, monkeypatch):
    monkeypatch.setattr(prober_module, "_PATIENCE", 0.05)
    [result] = finish(runner, [probe()])
    assert (result.reason, result.local) == ("TLS: ca: not read yet", True)


def test_nothing_waits_any_more_after_close(runner, probe, authority):
    future = probe()
    runner.prober.close()
    runner.prober.set_authorities(PATH, Authorities(authority.pem.read_text()))
    assert (runner.prober.under_way, runner.prober.waiting) == (0, 0)
    runner.loop.run_until_complete(asyncio.sleep(0))
    assert not future.done()


def test_redirect_to_https_waits_for_authorities_too(runner, probe, authority):
    future = probe(HealthCheck(type="http", redirects=1, tls=Tls(ca=PATH), timeout=5))
    assert runner.prober.waiting == 1
    runner.prober.set_authorities(PATH, Authorities(problem="permission denied"))
    # (the server speaks TLS, so that this one fails; it is only shown that it was tried)
    assert not finish(runner, [future])[0].local
