"""Nodes that end after one apply, or before it: their exit status, standard output and log."""

import os
import signal
import subprocess
from pathlib import Path

import msgspec
import pytest

from tests.actors.support.node_process import COMMAND, NodeProcess
from tests.actors.support.web_tree import ADD, line, make_tree, node_flags, put

pytestmark = pytest.mark.process

needs_no_ipvs = pytest.mark.skipif(Path("/proc/net/ip_vs").exists(), reason="this kernel has IPVS")


@pytest.fixture
def tree(tmp_path):
    return make_tree(tmp_path / "tree")


def run(*arguments, **options):
    """Run a node that exits by itself; return its exit status, standard output and standard error."""
    options = {"env": os.environ} | options
    done = subprocess.run(
        [*COMMAND, *map(os.fspath, arguments)], capture_output=True, text=True, timeout=60, check=False, **options
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout, done.stderr


def once(tmp_path, tree, *more, **options):
    source = ["--config-source", f"file://{tree}"]
    return run(*node_flags(tmp_path, "--noop", "--once", "--print", *source, *more), **options)


@pytest.mark.parametrize("wrong", [[b"--unknown"], [b"--config-source", b"file:///tmp/\xff"]])
def test_wrong_usage_exits_with_2_and_one_error_line(tmp_path, tree, wrong):
    status, out, err = once(tmp_path, tree, *wrong)
    assert (status, out) == (2, "")
    assert len([text for text in err.splitlines() if text.startswith("Error: ")]) == 1


def test_once_applies_prints_and_exits_with_0(tmp_path, tree):
    status, out, err = once(tmp_path, tree)
    assert (status, out) == (0, f"{ADD}\n{line(1)}\n")
    assert [text for text in err.splitlines() if text.startswith("ipvs noop: ")] == [
        f"ipvs noop: ipvsadm {ADD}",
        f"ipvs noop: ipvsadm {line(1)}",
    ]


def test_once_with_a_bad_object_exits_with_3(tmp_path, tree):
    (tree / "services/web/backends/2").write_text('{"ipv4": 1}')
    status, out, _ = once(tmp_path, tree)
    assert (status, out) == (3, f"{ADD}\n{line(1)}\n")


def test_tree_missing_at_the_start_is_replaced_by_its_copy(tmp_path, tree):
    _, table, _ = once(tmp_path, tree)
    tree.rename(tmp_path / "away")
    status, out, err = once(tmp_path, tree)
    assert (status, out) == (3, table)
    assert f"file://{tree}: unreadable, using the last-good copy\n" in err


def test_tree_missing_at_the_start_without_a_copy_is_wrong_usage(tmp_path, tree):
    once(tmp_path, tree)
    status, out, err = once(tmp_path, tmp_path / "missing")
    assert (status, out) == (2, "")
    assert f"file://{tmp_path}/missing: No such file or directory" in err


def test_once_exits_with_1_after_its_timeout(tmp_path, tree):
    half_written = tree / "services/web/backends/2"
    half_written.write_text("{")
    os.utime(half_written, (2**32, 2**32))  # a file that seems to have just changed is read again for a while
    status, out, err = once(tmp_path, tree, "--once-timeout", "0.01")
    assert (status, out) == (1, "")
    assert "giving up" in err


def test_later_source_wins_and_routes_are_filtered(tmp_path, tree):
    other = tmp_path / "other"
    (other / "routes").mkdir(parents=True)
    (other / "routes/r").write_text('{"IPVSMethod": "droute"}')
    (other / "services/web/backends").mkdir(parents=True)
    put(other, 1, weight=3)
    more = ["--config-source", f"file://{other}"]
    assert once(tmp_path, tree, *more)[1] == f"{ADD}\n{line(1, 3).replace('-m', '-g')}\n"
    assert once(tmp_path, tree, *more, "--filter-routes", f"file://{tree}")[1] == f"{ADD}\n{line(1, 3)}\n"


def test_settings_may_be_in_the_environment(tmp_path, tree):
    (tmp_path / "other").mkdir()
    environment = {
        "CLUSTERF_ROLE": "ipvs ipvs",
        "CLUSTERF_CONFIG_SOURCE": f"file://{tmp_path}/other file://{tree}",
        "CLUSTERF_NOOP": "1",
        "CLUSTERF_ONCE": "true",
        "CLUSTERF_PRINT": "yes",
        "CLUSTERF_IPVS_SCHEDULER": "rr",
        "CLUSTERF_IPVS_FORWARD_METHOD": "tunnel",
        "CLUSTERF_STATE_DIR": str(tmp_path / "state"),
        "CLUSTERF_RUNTIME_DIR": str(tmp_path / "run"),
        "CLUSTERF_LOG_LEVEL": "error",
        "CLUSTERF_IPVS_SYNC": "master:eth1:7 backup:eth2",
        "CLUSTERF_VIP_INTERFACE": "lo",
        "CLUSTERF_HEALTH_PROCESSES": "2",
        "CLUSTERF_HEALTH_REFERENCE": "192.0.2.1:53 [2001:db8::1]:53",
    }
    status, out, err = run(env=os.environ | environment)
    assert (status, err) == (0, "")
    assert out == f"{ADD.replace('wlc', 'rr')}\n{line(1).replace('-m', '-i')} --tun-type ipip\n"


def test_excluded_virtual_servers_are_not_created(tmp_path, tree):
    _, out, _ = once(tmp_path, tree, "--ipvs-exclude", "10.107.0.1/16")
    assert out == ""


@needs_no_ipvs
def test_vip_is_added_before_its_virtual_server(tmp_path, tree):
    status, _, err = once(tmp_path, tree, "--vip-interface", "lo")
    assert status == 0
    first, second, *_ = (line for line in err.splitlines() if line.startswith("ipvs noop: "))
    assert (first, second) == ("ipvs noop: ip address add 10.107.107.107/32 dev lo", f"ipvs noop: ipvsadm {ADD}")


@needs_no_ipvs
def test_missing_ipvs_is_one_line_that_names_the_module(tmp_path, tree):
    status, out, err = run(*node_flags(tmp_path, "--config-source", f"file://{tree}"))
    assert (status, out) == (1, "")
    assert len(err.splitlines()) == 1
    assert "ip_vs" in err


def test_closed_pipe_on_standard_output_is_harmless(tmp_path, tree):
    reading, writing = os.pipe()
    os.close(reading)
    arguments = node_flags(tmp_path, "--noop", "--once", "--print", "--config-source", f"file://{tree}")
    done = subprocess.run(
        [*COMMAND, *map(os.fspath, arguments)], stdout=writing, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(writing)
    assert done.returncode == 0
    assert "Broken pipe" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("closed", [1, 2])
def test_closed_standard_stream_is_harmless(tmp_path, tree, closed):
    arguments = node_flags(tmp_path, "--noop", "--once", "--print", "--config-source", f"file://{tree}")
    shell = ["sh", "-c", f'exec "$@" {closed}>&-', "sh", *COMMAND, *map(os.fspath, arguments)]
    done = subprocess.run(shell, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert done.stdout == ("" if closed == 1 else f"{ADD}\n{line(1)}\n")
    assert "Traceback" not in done.stderr


def test_json_log_has_one_object_per_line(tmp_path, tree):
    (tree / "services/web/backends/2").write_text("{")
    _, _, err = once(tmp_path, tree, "--log-format", "json")
    lines = [msgspec.json.decode(text) for text in err.splitlines()]
    assert any(entry["message"].startswith("ipvs noop: ipvsadm -A") for entry in lines)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_once_that_is_ended_by_a_signal_before_all_was_applied_exits_with_1(tmp_path, tree, number):
    # port 9 of loopback is closed, so that this source is never complete
    sources = ["--config-source", f"file://{tree}", "--config-source", "etcd://127.0.0.1:9/clusterf"]
    node = NodeProcess(tmp_path, *node_flags(tmp_path, "--noop", "--once", *sources))
    node.child("director")
    assert node.end(number) == 1
    assert "stopping; the table stays as it is" in node.log()
