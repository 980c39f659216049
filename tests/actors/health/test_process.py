from ipaddress import IPv4Address

import pytest

from actors.base.process import Host
from actors.health.process import start
from actors.link.messages import ValueIs
from actors.link.publisher import Publisher
from clusterf.config.model import Backend, BackendKey, Frontend, FrontendKey, HealthCheck, HealthKey
from clusterf.health.probe_policy import DENIED
from clusterf.lib.addresses import Endpoint
from tests.actors.support.local_links import LocalLinks
from tests.actors.support.recorder import Recorder, subscribe
from tests.actors.support.some_settings import some_settings
from tests.servers import Server, answer
from tests.waiting import wait_until

HOST = Host(finish=lambda _: None, flushed=lambda: None, links=LocalLinks())
CHECK = HealthCheck(type="http", interval=0.1, fast_interval=0.05)


@pytest.fixture
def settings(tmp_path):
    folders = {"runtime_dir": str(tmp_path / "run/node"), "state_dir": str(tmp_path)}

    def settings(**changes):
        return some_settings(**{"health_processes": 1, "health_methods": ("GET",)} | folders | changes)

    return settings


@pytest.fixture
def run(request):
    """Publish a configuration with a backend at each address, start health processes, and return their recorders."""

    def run(settings, addresses, port, *, check=CHECK, local=False):
        config = Publisher("config", HOST.links)
        request.addfinalizer(config.stop)
        frontend = Frontend(ipv4=IPv4Address("10.1.1.1"), tcp=80)
        backends = [
            ValueIs(BackendKey(b"web", address.encode()), Backend(ipv4=IPv4Address(address), tcp=port), local)
            for address in addresses
        ]
        config.publish(
            [ValueIs(FrontendKey(b"web"), frontend), ValueIs(HealthKey(None), check, local), *backends], synced=True
        )
        config.start()
        recorders = []
        for name in settings.health_names():
            for ref in start(name, settings, HOST):
                request.addfinalizer(lambda ref=ref: ref.stop(timeout=10))
                run.started.append(ref)
            ref = Recorder.start()
            request.addfinalizer(subscribe(name, HOST.links, ref).stop)
            recorders.append(ref._actor_weakref())
        return recorders

    run.started = []
    return run


def test_verdicts_are_published_on_the_link_of_the_process_and_stored(run, settings, tmp_path):
    with Server(answer()) as server:
        [recorder] = run(settings(), ["127.0.0.1"], server.port)
        wait_until(lambda: [message.value.up for message in recorder.state.values()] == [True])
    assert (tmp_path / "probe/health.db").exists()


def test_nothing_is_stored_with_once(run, settings, tmp_path):
    with Server(answer()) as server:
        [recorder] = run(settings(once=True), ["127.0.0.1"], server.port)
        wait_until(lambda: recorder.state)
    assert list(tmp_path.glob("*.db")) == []


def test_each_process_probes_its_own_shard(run, settings):
    addresses = [f"127.0.0.{number}" for number in range(1, 9)]
    with Server(answer(), host="127.0.0.1") as server:
        one, two = run(settings(health_processes=2), addresses, server.port)
        wait_until(lambda: len(one.state) + len(two.state) == len(addresses))
    assert one.state
    assert two.state
    endpoints = {message.key.endpoint for recorder in (one, two) for message in recorder.state.values()}
    assert endpoints == {Endpoint(IPv4Address(address).packed, server.port) for address in addresses}


def values(recorder):
    return {message.key.backend: (message.value.up, message.value.reason) for message in recorder.state.values()}


@pytest.mark.parametrize(
    ("allow", "local", "probed"), [((), False, False), ((), True, True), (("127.0.0.1/32",), False, True)]
)
def test_denied_address_is_probed_only_if_it_is_allowed_or_from_files(run, settings, caplog, allow, local, probed):
    with Server(answer()) as server:
        given = settings(health_deny=DENIED, health_allow=allow)
        [recorder] = run(given, ["127.0.0.1"], server.port, local=local)
        wait_until(lambda: recorder.state and recorder.syncs)
        if probed:
            wait_until(lambda: values(recorder) == {b"127.0.0.1": (True, "")})
            return
        wait_until(lambda: "is not probed" in caplog.text)
        assert values(recorder) == {b"127.0.0.1": (None, "not allowed (--health-deny)")}
        [line] = [message for message in caplog.messages if "is not probed" in message]
        assert line == f"health: web/127.0.0.1: 127.0.0.1:{server.port} is not probed: not allowed (--health-deny)"
        assert server.accepted == 0


def test_verdict_of_a_check_outlasts_an_upgrade_to_a_node_that_refuses_it(run, settings, tmp_path, caplog):
    post = HealthCheck(type="http", method="POST", body="a", interval=0.1)
    with Server(answer()) as server:
        [recorder] = run(settings(health_methods=("POST",)), ["127.0.0.1"], server.port, check=post)
        wait_until(lambda: values(recorder) == {b"127.0.0.1": (True, "")})
        assert all(ref.stop(timeout=10) for ref in run.started)
        sent = len(server.requests)
        [recorder] = run(settings(), ["127.0.0.1"], server.port, check=post)
        wait_until(lambda: recorder.syncs)
        wait_until(lambda: "is not probed: method POST is not allowed (--health-methods)" in caplog.text)
        assert values(recorder) == {b"127.0.0.1": (True, "")}
        assert len(server.requests) == sent
