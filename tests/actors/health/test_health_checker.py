import contextlib
import logging
import time
from ipaddress import IPv4Address

import pytest

from actors.base.messages import Ping
from actors.health import health_checker, verdict_output
from actors.link.messages import Received, Synced, ValueIs, VerdictIs
from actors.link.publisher import Publisher
from clusterf.config.model import Backend, BackendKey, Frontend, FrontendKey, HealthCheck, HealthKey, Route, RouteKey
from clusterf.health.verdict import ProbeResult, VerdictKey
from clusterf.lib.addresses import parse_endpoint
from tests.actors.support.checker_node import CheckerNode
from tests.actors.support.fake_prober import DOWN, UP
from tests.waiting import wait_until

FRONTEND = Frontend(ipv4=IPv4Address("10.1.1.1"), tcp=80)
QUICK = HealthCheck(interval=0.05, fast_interval=0.02, jitter=0, rise=2, fall=3)
SLOW = HealthCheck(interval=86400, fast_interval=86400)
WEB = (ValueIs(FrontendKey(b"web"), FRONTEND), ValueIs(HealthKey(None), QUICK))
REFERENCE = parse_endpoint("192.0.2.1:53")


def endpoint(number, port=80):
    return parse_endpoint(f"10.0.{number >> 8}.{number & 255}:{port}")


def backend(number, service=b"web", name=None, port=80):
    address = endpoint(number).address
    return ValueIs(BackendKey(service, name or b"%d" % number), Backend(ipv4=address, tcp=port))


def key(number, service=b"web", name=None, port=80):
    return VerdictKey(service, name or b"%d" % number, endpoint(number, port))


@pytest.fixture
def node(tmp_path):
    with contextlib.ExitStack() as stack:
        node = CheckerNode(tmp_path, stack)
        yield node
        node.ref.stop(timeout=10)


@pytest.fixture(autouse=True)
def _all_levels(caplog):
    caplog.set_level(logging.INFO)


def test_nothing_is_probed_or_published_before_the_whole_configuration_is_known(node):
    node.publish(*WEB, backend(1), synced=False)
    node.start()
    node.ref.ask(Ping(), timeout=10)
    assert not node.probers.started
    node.publish(ValueIs(HealthKey(b"web"), SLOW))
    node.wait_for({key(1): True})
    wait_until(lambda: node.recorder.syncs)
    # not with the default check, which it seemed to have at first
    assert {target.check.interval for target in node.probers.started} == {SLOW.interval}


def test_synced_is_published_also_without_targets(node, caplog):
    node.publish(ValueIs(FrontendKey(b"web"), FRONTEND), backend(1), ValueIs(RouteKey(b"r"), Route()))
    node.start()
    wait_until(lambda: node.recorder.syncs == 1)
    assert node.recorder.state == {}
    assert not caplog.records


def test_first_success_is_a_verdict(node, caplog):
    node.publish(*WEB, backend(1))
    node.start()
    node.wait_for({key(1): True})
    assert abs(node.recorder.state[key(1)].value.since - time.time()) < 60
    wait_until(lambda: "health: web/1: 10.0.0.1:80 is up (1 success, 0.3 ms)" in caplog.messages)


def test_backend_goes_down_after_fall_failures_and_up_after_rise_successes(node, caplog):
    node.publish(*WEB, backend(1), backend(2))
    node.start()
    node.wait_for({key(1): True, key(2): True})
    node.probers.results[endpoint(1)] = DOWN
    node.wait_for({key(1): False, key(2): True})
    assert node.recorder.state[key(1)].value.reason == "refused"
    node.probers.results[endpoint(1)] = UP
    node.wait_for({key(1): True, key(2): True})
    down = "health: web/1: 10.0.0.1:80 is down: refused (3 failures in a row, 0.2 ms)"
    up = "health: web/1: 10.0.0.1:80 is up (2 successes in a row, 0.3 ms)"
    wait_until(lambda: up in caplog.messages)
    assert [r.levelname for r in caplog.records if r.getMessage() in {down, up}] == ["WARNING", "INFO"]
    assert [message.value.up for message in node.published() if message.key == key(1)] == [True, False, True]


def test_names_and_reasons_are_escaped_in_the_log(node, caplog):
    node.probers.default = ProbeResult(False, "garbage\r\n\x1b[2J", 1.0)
    node.publish(
        ValueIs(FrontendKey(b"w\n\xff"), FRONTEND), ValueIs(HealthKey(None), QUICK), backend(1, b"w\n\xff", b"b\x00")
    )
    node.start()
    wait_until(lambda: any("is down" in message for message in caplog.messages))
    (line,) = [message for message in caplog.messages if "is down" in message]
    assert line == (
        r"health: w\x0a\xff/b\x00: 10.0.0.1:80 is down: garbage\x0d\x0a\x1b[2J (3 failures in a row, 1000.0 ms)"
    )


def test_backends_with_the_same_target_are_probed_once(node, caplog):
    api = ValueIs(FrontendKey(b"api"), FRONTEND), ValueIs(HealthKey(b"api"), SLOW)
    node.publish(
        *WEB, ValueIs(HealthKey(b"web"), SLOW), *api, *(backend(1, b"api", b"%d" % n) for n in range(12)), backend(1)
    )
    node.start()
    node.wait_for(dict.fromkeys([key(1), *(key(1, b"api", b"%d" % n) for n in range(12))], True))
    # another backend gets the verdict at once
    node.publish(backend(1, name=b"new"))
    wait_until(lambda: key(1, name=b"new") in node.recorder.state)
    assert len(node.probers.started) == 1
    wait_until(lambda: any("more" in message for message in caplog.messages))
    lines = [message for message in caplog.messages if "is up" in message]
    assert len(lines) == 11
    assert lines[-1] == "health: and 3 more: 10.0.0.1:80 is up (1 success, 0.3 ms)"


def test_target_is_probed_until_its_last_backend_is_removed(node):
    node.publish(*WEB, backend(1), backend(1, name=b"twin"))
    node.start()
    node.wait_for({key(1): True, key(1, name=b"twin"): True})
    node.publish(ValueIs(BackendKey(b"web", b"1"), None))
    node.wait_for({key(1, name=b"twin"): True})
    node.probers.default = DOWN
    node.wait_for({key(1, name=b"twin"): False})


def test_backend_that_is_no_longer_probed_has_no_verdict(node):
    node.publish(*WEB, backend(1), backend(2))
    node.start()
    node.wait_for({key(1): True, key(2): True})
    node.publish(ValueIs(BackendKey(b"web", b"1"), None))
    node.wait_for({key(2): True})
    node.publish(ValueIs(HealthKey(b"web"), HealthCheck(type="none")))
    node.wait_for({})
    started = len(node.probers.started)
    node.publish(ValueIs(HealthKey(b"web"), SLOW), backend(3))
    wait_until(lambda: endpoint(3) in {target.endpoint for target in node.probers.started[started:]})
    assert endpoint(1) not in {target.endpoint for target in node.probers.started[started:]}


def test_changed_check_keeps_verdicts(node):
    node.publish(*WEB, backend(1), backend(2))
    node.probers.results[endpoint(2)] = DOWN
    node.start()
    node.wait_for({key(1): True, key(2): False})
    published = len(node.published())
    node.probers.default, node.probers.results = None, {}
    node.publish(ValueIs(HealthKey(None), HealthCheck(type="http", interval=0.05)))
    wait_until(lambda: {target.check.type for target in node.probers.started} == {"tcp", "http"})
    assert len(node.published()) == published
    node.publish(ValueIs(HealthKey(None), HealthCheck(port=9, interval=0.05)))
    node.wait_for({key(1, port=9): True, key(2, port=9): False})


def test_backend_at_a_new_address_has_no_verdict(node):
    node.publish(*WEB, backend(1))
    node.start()
    node.wait_for({key(1): True})
    node.probers.default = None
    node.publish(backend(2, name=b"1"))
    node.wait_for({})


def test_renamed_backend_keeps_its_verdict(node):
    node.publish(*WEB, ValueIs(HealthKey(b"web"), SLOW), backend(1))
    node.start()
    node.wait_for({key(1): True})
    node.publish(ValueIs(BackendKey(b"web", b"1"), None), backend(1, name=b"new"))
    node.wait_for({key(1, name=b"new"): True})
    assert len(node.probers.started) == 1


def test_stored_verdicts_are_published_before_synced_after_a_restart(node, caplog):
    node.publish(*WEB, *map(backend, range(1, 5)))
    node.probers.results[endpoint(2)] = DOWN
    node.start()
    expected = {key(n): n != 2 for n in range(1, 5)}
    node.wait_for(expected)
    before = dict(node.recorder.state)
    node.probers.default = None
    node.restart()
    wait_until(lambda: node.recorder.syncs)
    assert node.recorder.state == before
    assert len(node.published()) == 4
    wait_until(lambda: "health: probing 4 targets, 4 verdicts known" in caplog.messages)
    # one failure is not enough for a backend that was up before the restart
    node.probers.default = DOWN
    node.restart()
    node.wait_for(dict.fromkeys(expected, False))
    # a verdict is published before it is logged
    wait_until(lambda: caplog.text.count("10.0.0.1:80 is down: refused (3 failures in a row") == 1)


def test_synced_is_published_after_all_parts_are_applied(node, monkeypatch):
    monkeypatch.setattr(health_checker, "PART", 1)
    node.publish(*WEB, *map(backend, range(1, 201)))
    node.start()
    node.wait_for({key(n): True for n in range(1, 201)})
    node.probers.default = None
    node.restart()
    wait_until(lambda: node.recorder.syncs)
    assert [isinstance(message, Synced) for message in node.recorder.messages] == [False] * 200 + [True]


def test_verdict_of_a_backend_removed_during_the_restart_is_deleted(node):
    node.publish(*WEB, backend(1), backend(2))
    node.start()
    node.wait_for({key(1): True, key(2): True})
    assert node.ref.stop(timeout=10)
    node.publish(ValueIs(BackendKey(b"web", b"1"), None))
    node.probers.default = None
    node.start()
    node.wait_for({key(2): True})
    node.publish(backend(1))
    wait_until(lambda: endpoint(1) in {target.endpoint for target in node.probers.started})
    node.restart()
    wait_until(lambda: node.recorder.syncs)
    assert node.verdicts() == {key(2): True}


def test_no_verdicts_are_restored_without_a_store(node, tmp_path):
    node.publish(*WEB, backend(1))
    node.start(stored=False)
    node.wait_for({key(1): True})
    node.probers.default = None
    node.restart(stored=False)
    wait_until(lambda: node.recorder.syncs)
    assert node.verdicts() == {}
    assert list(tmp_path.glob("*.db")) == []


def test_lost_configuration_link_changes_nothing(node):
    messages = (*WEB, *map(backend, range(1, 5)))
    node.publish(*messages)
    node.start()
    node.wait_for({key(n): True for n in range(1, 5)})
    node.config.stop()
    published = len(node.published())
    node.probers.results[endpoint(1)] = DOWN
    wait_until(lambda: len(node.published()) == published + 1)
    again = Publisher("config", node.links)
    again.publish(messages[:-1], synced=True)
    again.start()
    node.wait_for({key(1): False, key(2): True, key(3): True})
    assert len(node.published()) == published + 2
    again.stop()


def test_every_verdict_is_published_by_one_shard(node):
    expected = {key(n): True for n in range(1, 40)}
    node.publish(*WEB, *map(backend, range(1, 40)))
    node.start(shard=0, shards=2)
    first, one = node.ref, node.recorder
    wait_until(lambda: one.syncs)
    node.start(shard=1, shards=2)
    two = node.recorder
    wait_until(lambda: len(one.state) + len(two.state) == len(expected))
    assert one.state.keys() | two.state.keys() == expected.keys()
    assert min(len(one.state), len(two.state)) > 5
    assert first.stop(timeout=10)


def test_verdicts_of_one_iteration_are_stored_together(node):
    node.publish(*WEB, *map(backend, range(1, 101)))
    node.probers.default = None
    node.start()
    wait_until(lambda: len(node.probers.started) == 100)
    results = [(target, ProbeResult(True, "", 0.0)) for target in node.probers.started]

    def all_at_once():
        for target, result in results:
            node.checker._probing._finished(target, result)

    wait_until(lambda: node.recorder.syncs)
    node.writes.clear()
    node.checker.loop.call_soon_threadsafe(all_at_once)
    node.wait_for({key(n): True for n in range(1, 101)})
    wait_until(lambda: node.writes)
    assert len(node.writes[0]) == 100


def test_verdicts_are_frozen_while_all_targets_fail_and_no_reference_responds(node, caplog):
    expected = {key(n): True for n in range(1, 9)}
    node.publish(*WEB, *map(backend, range(1, 9)))
    node.start(references=(REFERENCE, parse_endpoint("[2001:db8::1]:53")))
    node.wait_for(expected)
    node.probers.default = DOWN
    wait_until(lambda: "and no reference responds (192.0.2.1:53, [2001:db8::1]:53)" in caplog.text)
    started = len(node.probers.started)
    wait_until(lambda: len(node.probers.started) > started + 50)
    assert node.verdicts() == expected
    assert "freezing 8 verdicts" in caplog.text
    node.probers.results[REFERENCE] = UP
    wait_until(lambda: "a reference responds: unfreezing verdicts after" in caplog.text, 5)
    # so the targets have failed
    node.wait_for(dict.fromkeys(expected, False))
    probes = [target for target in node.probers.started if target.endpoint == REFERENCE]
    assert len(probes) < 10


def test_failing_targets_go_down_if_a_reference_responds(node, caplog):
    expected = {key(n): True for n in range(1, 9)}
    node.publish(*WEB, *map(backend, range(1, 9)))
    other = parse_endpoint("192.0.2.2:53")
    node.start(references=(other, REFERENCE))
    node.wait_for(expected)
    node.probers.default = DOWN
    node.probers.results |= {REFERENCE: UP, other: None}  # a reference that hangs delays nothing
    node.wait_for(dict.fromkeys(expected, False))
    assert "reference" not in caplog.text
    assert {target.endpoint for target in node.probers.started} >= {other, REFERENCE}


def test_references_are_not_probed_for_a_single_failing_target(node):
    node.publish(
        *WEB, ValueIs(HealthKey(b"web"), HealthCheck(interval=0.2, fast_interval=0.2)), *map(backend, range(1, 9))
    )
    node.start(references=(REFERENCE,))
    node.wait_for({key(n): True for n in range(1, 9)})
    node.probers.results[endpoint(3)] = DOWN
    node.wait_for({key(n): n != 3 for n in range(1, 9)})
    assert REFERENCE not in {target.endpoint for target in node.probers.started}


def test_references_that_never_respond_are_ignored_once_targets_pass(node, caplog):
    node.publish(*WEB, *map(backend, range(1, 9)))
    node.start(references=(REFERENCE,))
    node.wait_for({key(n): True for n in range(1, 9)})
    node.probers.default = DOWN
    wait_until(lambda: "assuming a local outage" in caplog.text)
    node.probers.results = {endpoint(n): UP for n in range(1, 9)}
    wait_until(lambda: "most targets are passing: unfreezing verdicts after" in caplog.text)
    assert "ignoring references until one responds" in caplog.text
    node.probers.results[REFERENCE] = UP
    wait_until(lambda: "using references again" in caplog.text)


def test_pings_are_answered_while_ten_thousand_targets_are_added(node):
    count = 10_000
    node.probers.default = None
    node.start()
    answers = [0]
    node.publish(
        ValueIs(FrontendKey(b"web"), FRONTEND), ValueIs(HealthKey(None), SLOW), *map(backend, range(1, count + 1))
    )
    while answers[-1] < count:
        node.ref.ask(Ping(), timeout=20)
        answers.append(len(node.checker._watch_list.monitor))
    assert len(set(answers)) > 10
    node.publish(ValueIs(HealthKey(None), HealthCheck(interval=600)))
    monitor = node.checker._watch_list.monitor
    wait_until(lambda: {target.check.interval for target in list(monitor._watched)} == {600}, 20)
    node.publish(ValueIs(FrontendKey(b"web"), None))
    wait_until(lambda: not len(monitor), 20)


def test_stop_publishes_nothing(node):
    node.publish(*WEB, backend(1))
    node.start()
    node.wait_for({key(1): True})
    published = len(node.published())
    assert node.ref.stop(timeout=10)
    assert node.probers.closed == 1
    assert len(node.published()) == published
    assert node.verdicts() == {key(1): True}


def test_exception_in_a_probe_stops_the_actor(node):
    node.publish(*WEB, backend(1))
    node.probers.results = None
    node.start()
    assert node.ref.actor_stopped.wait(10)


@pytest.mark.parametrize(
    "nonsense", ["nonsense", Received((VerdictIs(VerdictKey(b"s", b"b", endpoint(1)), None),), "config")]
)
def test_unexpected_message_stops_the_actor(node, nonsense):
    node.start()
    node.ref.tell(nonsense)
    assert node.ref.actor_stopped.wait(10)


def test_verdicts_are_stored_anew_when_their_file_is_gone(node, tmp_path, monkeypatch):
    monkeypatch.setattr(verdict_output, "KEEP_INTERVAL", 0.01)
    node.publish(*WEB, backend(1))
    node.start()
    node.wait_for({key(1): True})
    (file,) = tmp_path.glob("*.db")
    file.unlink()
    wait_until(file.exists)
    node.probers.default = None
    node.restart()
    wait_until(lambda: node.recorder.syncs)
    assert node.verdicts() == {key(1): True}
