"""HealthChecker with its real prober, against servers on loopback."""

import contextlib
import logging
import time
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

import pytest

from actors.link.messages import AuthoritiesAre, AuthoritiesKey, ValueIs
from clusterf.config.model import Backend, BackendKey, Frontend, FrontendKey, HealthCheck, HealthKey, Tls
from clusterf.health.authorities import Authorities
from clusterf.health.probes import Prober
from clusterf.health.verdict import VerdictKey
from tests import servers
from tests.actors.support.checker_node import CheckerNode
from tests.servers import Server, answer
from tests.waiting import wait_until

FRONTEND = Frontend(ipv4=IPv4Address("10.1.1.1"), ipv6=IPv6Address("fd00::1"), tcp=80)
QUICK = {"interval": 0.2, "fast_interval": 0.05, "timeout": 0.3}
HTTP = HealthCheck(type="http", **QUICK)


@pytest.fixture
def stack():
    with contextlib.ExitStack() as stack:
        yield stack


@pytest.fixture
def node(tmp_path, stack):
    node = CheckerNode(tmp_path, stack, Prober)
    stack.callback(lambda: node.ref.stop(timeout=10))
    return node


@pytest.fixture
def serve(stack):
    return lambda behaviour, **options: stack.enter_context(Server(behaviour, **options))


def service(name, endpoint, check):
    backend = Backend(**{f"ipv{endpoint.address.version}": endpoint.address}, tcp=endpoint.port)
    return (
        ValueIs(FrontendKey(name), FRONTEND),
        ValueIs(HealthKey(name), check),
        ValueIs(BackendKey(name, b"1"), backend),
    )


def reasons(node):
    """The verdict on each service: the reason if it is down, True if it is up."""
    return {key.service: message.value.reason or message.value.up for key, message in dict(node.recorder.state).items()}


def test_server_that_fails_and_recovers_goes_down_and_up(node, serve, caplog):
    caplog.set_level(logging.INFO)
    server = serve(answer(200))
    node.publish(*service(b"web", server.endpoint, HTTP))
    node.start()
    node.wait_for({VerdictKey(b"web", b"1", server.endpoint): True})
    server.behaviour = answer(503)
    wait_until(lambda: reasons(node) == {b"web": "HTTP 503"})
    server.behaviour = answer(200)
    wait_until(lambda: reasons(node) == {b"web": True})
    lines = [message.rpartition(", ")[0] for message in caplog.messages if " is " in message]
    assert lines == [
        f"health: web/1: {server.endpoint} is up (1 success",
        f"health: web/1: {server.endpoint} is down: HTTP 503 (3 failures in a row",
        f"health: web/1: {server.endpoint} is up (2 successes in a row",
    ]


def test_each_server_has_its_own_verdict_and_reason(node, serve, stack, tmp_path):
    tls = HealthCheck(type="https", tls=Tls(verify=False), **QUICK)
    strict = HealthCheck(type="https", **QUICK)
    own = serve(answer(200), tls=servers.Authority.self_signed(tmp_path, "127.0.0.1"))
    cases = {
        b"good": (serve(answer(200)).endpoint, HTTP, True),
        b"six": (serve(answer(204), host="::1").endpoint, HTTP, True),
        b"tcp": (serve(servers.stay_silent).endpoint, HealthCheck(**QUICK), True),
        b"silent": (serve(servers.stay_silent).endpoint, HTTP, "timeout"),
        b"reset": (serve(servers.reset).endpoint, HTTP, "reset"),
        b"garbage": (serve(servers.say(b"garbage\r\n\r\n")).endpoint, HTTP, "not HTTP"),
        b"refused": (stack.enter_context(servers.closed_port()), HTTP, "refused"),
        b"full": (stack.enter_context(servers.full_backlog()), HealthCheck(**QUICK), "timeout"),
        b"tls": (own.endpoint, tls, True),
        b"self": (own.endpoint, strict, "TLS: self-signed certificate"),
    }
    node.publish(
        *(message for name, (endpoint, check, _) in cases.items() for message in service(name, endpoint, check))
    )
    node.start()
    wait_until(lambda: reasons(node) == {name: expected for name, (_, _, expected) in cases.items()})


def test_authorities_come_over_the_link_and_their_loss_changes_no_verdict(node, serve, tmp_path):
    authority = servers.Authority(tmp_path)
    server = serve(answer(200), tls=authority.good("127.0.0.1"))
    # long intervals: the first probe is not lost, though its authorities come later
    check = HealthCheck(type="https", tls=Tls(ca="/root/only/ca.pem"), interval=600, fast_interval=600, timeout=5)
    node.publish(*service(b"web", server.endpoint, check))
    node.start()
    wait_until(lambda: node.recorder.syncs)
    assert reasons(node) == {}
    key = AuthoritiesKey("/root/only/ca.pem")
    node.publish(AuthoritiesAre(key, Authorities(authority.pem.read_text())))
    wait_until(lambda: reasons(node) == {b"web": True})
    again = HealthCheck(type="https", tls=check.tls, **QUICK)
    node.publish(AuthoritiesAre(key, Authorities(problem="no such file or directory")))
    node.publish(ValueIs(HealthKey(b"web"), again))
    wait_until(lambda: server.accepted > 5)
    assert reasons(node) == {b"web": True}


def test_probes_under_way_do_not_delay_the_stop(node, serve, tmp_path, caplog):
    patient = {"interval": 60.0, "timeout": 60.0}
    tls = servers.Authority.self_signed(tmp_path, "127.0.0.1")
    hanging = [
        (serve(servers.stay_silent), HealthCheck(type="http", **patient)),
        (serve(servers.stay_silent), HealthCheck(type="https", **patient)),
        (serve(servers.stay_silent, tls=tls), HealthCheck(type="https", tls=Tls(verify=False), **patient)),
    ]
    for number, (server, check) in enumerate(hanging):
        node.publish(*service(b"%d" % number, server.endpoint, check))
    node.start()
    wait_until(lambda: all(server.accepted for server, _ in hanging))
    checker = node.checker
    began = time.monotonic()
    assert node.ref.stop(timeout=10)
    assert time.monotonic() - began < 5
    wait_until(checker.loop.is_closed)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_probes_leave_no_open_descriptors(node, serve):
    server = serve(answer(200))
    for number in range(20):
        node.publish(*service(b"%d" % number, server.endpoint, HealthCheck(type="http", path=f"/{number}", **QUICK)))
    node.start()
    wait_until(lambda: len(server.requests) > 40)
    before = len(list(Path("/proc/self/fd").iterdir()))
    wait_until(lambda: len(server.requests) > 200)
    wait_until(lambda: len(list(Path("/proc/self/fd").iterdir())) <= before + 4)
