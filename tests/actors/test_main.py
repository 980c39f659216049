import fcntl
import os
import signal
import socket
import subprocess
import threading
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from actors.main import main
from tests.actors.support.node_process import COMMAND, NodeProcess
from tests.waiting import wait_until

pytestmark = pytest.mark.process

FRONTEND = '{"ipv4": "10.107.107.107", "tcp": 1337}'
ADD = "-A -t 10.107.107.107:1337 -s wlc"
needs_no_ipvs = pytest.mark.skipif(Path("/proc/net/ip_vs").exists(), reason="this kernel has IPVS")


def line(number, weight=10):
    return f"-a -t 10.107.107.107:1337 -r 10.3.107.{number}:1337 -m -w {weight}"


@pytest.fixture
def tree(tmp_path):
    root = tmp_path / "tree"
    (root / "services/web/backends").mkdir(parents=True)
    (root / "services/web/frontend").write_text(FRONTEND)
    put(root, 1)
    return root


def put(root, number, weight=10):
    new = root / f"services/web/backends/.{number}"
    new.write_text(f'{{"ipv4": "10.3.107.{number}", "tcp": 1337, "weight": {weight}}}')
    new.rename(root / f"services/web/backends/{number}")


def flags(tmp_path, *more):
    return ["--role", "ipvs", "--state-dir", tmp_path / "state", "--runtime-dir", tmp_path / "run", *more]


@pytest.fixture
def start(tmp_path, tree):
    nodes = []

    def start(*more, **environment):
        place = tmp_path / f"node{len(nodes)}"
        place.mkdir()
        source = ["--config-source", f"file://{tree}"]
        nodes.append(NodeProcess(place, *flags(tmp_path, "--noop", "--print", *source, *more), **environment))
        return nodes[-1]

    yield start
    for node in nodes:
        node.process.kill()
        node.process.wait()


def run(*arguments, **options):
    """Run a node that is to end by itself; return its exit status, standard output and error."""
    options = {"env": os.environ} | options
    done = subprocess.run(
        [*COMMAND, *map(os.fspath, arguments)], capture_output=True, text=True, timeout=60, check=False, **options
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout, done.stderr


def once(tmp_path, tree, *more, **options):
    source = ["--config-source", f"file://{tree}"]
    return run(*flags(tmp_path, "--noop", "--once", "--print", *source, *more), **options)


def test_once_applies_and_prints_and_ends(tmp_path, tree):
    status, out, err = once(tmp_path, tree)
    assert (status, out) == (0, f"{ADD}\n{line(1)}\n")
    assert [text for text in err.splitlines() if text.startswith("ipvs noop: ")] == [
        f"ipvs noop: ipvsadm {ADD}",
        f"ipvs noop: ipvsadm {line(1)}",
    ]


def test_once_with_a_bad_object_ends_with_3(tmp_path, tree):
    (tree / "services/web/backends/2").write_text('{"ipv4": 1}')
    status, out, _ = once(tmp_path, tree)
    assert (status, out) == (3, f"{ADD}\n{line(1)}\n")


def test_once_that_takes_too_long_ends_with_1(tmp_path, tree):
    half_written = tree / "services/web/backends/2"
    half_written.write_text("{")
    os.utime(half_written, (2**32, 2**32))  # by its clock it never rests, so it has to be watched for a while
    status, out, err = once(tmp_path, tree, "--once-timeout", "0.01")
    assert (status, out) == (1, "")
    assert "giving up" in err


def test_edits_are_followed_and_each_table_is_printed(start, tree):
    node = start()
    wait_until(lambda: node.tables() == [f"{ADD}\n{line(1)}"])
    put(tree, 2, weight=5)
    wait_until(lambda: node.tables()[1:] == [f"{ADD}\n{line(1)}\n{line(2, 5)}"])
    assert node.end() == 0
    assert node.log().endswith("stopping; the table stays as it is\n")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
@pytest.mark.parametrize("name", ["config", "health", "director"])
def test_a_child_that_is_killed_comes_back_and_follows(start, tree, name, number):
    node = start()
    wait_until(lambda: len(node.tables()) == 1)
    killed = node.child(name)
    os.kill(killed, number)
    node.child(name, other_than=killed)
    put(tree, 2)
    wait_until(lambda: node.tables()[-1] == f"{ADD}\n{line(1)}\n{line(2)}")
    written = node.log().count(f"ipvs noop: ipvsadm {ADD}")
    # a director with --noop has lost its shadow table; the others have lost nothing
    assert written == (2 if name == "director" else 1)
    assert "Traceback" not in node.log()
    assert node.end() == 0


def test_what_went_while_the_config_process_was_dead_is_removed(start, tree):
    put(tree, 2)
    node = start()
    wait_until(lambda: len(node.tables()) == 1)
    os.kill(node.child("config"), signal.SIGKILL)
    (tree / "services/web/backends/2").unlink()
    wait_until(lambda: node.tables()[-1] == f"{ADD}\n{line(1)}")
    node.logged("ipvs noop: ipvsadm -d -t 10.107.107.107:1337 -r 10.3.107.2:1337")


def test_a_stopped_child_is_found_stuck_and_replaced(start, tree):
    node = start("--stuck-timeout", "1")
    wait_until(lambda: len(node.tables()) == 1)
    stopped = node.child("director")
    wait_until(lambda: Path(f"/proc/{stopped}/status").exists())
    node.logged("ipvs noop")
    put(tree, 2)
    wait_until(lambda: len(node.tables()) == 2)
    pause(1.0)  # until it has answered a ping
    os.kill(stopped, signal.SIGSTOP)
    node.logged("stuck for")
    node.child("director", other_than=stopped)
    put(tree, 3)
    wait_until(lambda: node.tables()[-1].endswith(line(3)))
    assert node.end() == 0


def pause(seconds):
    threading.Event().wait(seconds)


def test_children_without_their_supervisor_end(start):
    node = start()
    wait_until(lambda: len(node.tables()) == 1)
    children = [node.child(name) for name in ("config", "health", "director")]
    node.end(signal.SIGKILL)
    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in children))
    assert "Traceback" not in node.log()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_node_and_leaves_nothing_behind(start, tmp_path, number):
    node = start()
    wait_until(lambda: len(node.tables()) == 1)
    children = [node.child(name) for name in ("config", "health", "director")]
    assert node.end(number) == 0
    assert not any(Path(f"/proc/{pid}").exists() for pid in children)
    assert list((tmp_path / "run").iterdir()) == []
    assert "error" not in node.log()


def test_a_hangup_reads_all_again_and_writes_nothing(start, tree):
    node = start()
    wait_until(lambda: len(node.tables()) == 1)
    children = node.children()
    node.process.send_signal(signal.SIGHUP)
    node.logged("reloading")
    put(tree, 2)
    wait_until(lambda: len(node.tables()) == 2)
    assert node.children() == children
    assert node.log().count("ipvsadm -A") == 1


def test_processes_are_named(start):
    node = start()
    wait_until(lambda: node.children().keys() == {"config", "health", "director"})
    assert Path(f"/proc/{node.process.pid}/cmdline").read_bytes().startswith(b"clusterf-node: supervisor")


def test_several_health_processes_are_named_by_their_numbers(start, tmp_path):
    node = start("--health-processes", "3")
    wait_until(lambda: node.children().keys() == {"config", "health1", "health2", "health3", "director"})
    wait_until(lambda: len(node.tables()) == 1)
    names = {path.name for path in (tmp_path / "run").glob("*/*.sock")}
    assert names == {"config.sock", "health1.sock", "health2.sock", "health3.sock"}
    killed = node.child("health2")
    os.kill(killed, signal.SIGKILL)
    node.child("health2", other_than=killed)
    assert node.end() == 0


def test_only_health_processes_have_what_probing_needs(start):
    node = start()
    wait_until(lambda: len(node.tables()) == 1)
    loaded = {name: "httptools" in Path(f"/proc/{pid}/maps").read_text() for name, pid in node.children().items()}
    assert loaded == {"config": False, "health": True, "director": False}


@pytest.fixture
def listening():
    """A server on loopback that takes connections, and its port."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server, server.getsockname()[1]


def test_a_backend_that_dies_is_reported_and_so_is_its_return(start, tree, listening):
    server, port = listening
    (tree / "services/web/health").write_text('{"interval": 0.2, "fast_interval": 0.1, "rise": 2, "fall": 2}')
    (tree / "services/web/backends/1").write_text(f'{{"ipv4": "127.0.0.1", "tcp": {port}}}')
    node = start()
    node.logged(f"health: web/1: 127.0.0.1:{port} is up (1 success, ")
    server.close()
    node.logged(f"warning: health: web/1: 127.0.0.1:{port} is down: refused (2 failures in a row, ")
    with socket.create_server(("127.0.0.1", port)):
        node.logged(f"health: web/1: 127.0.0.1:{port} is up (2 successes in a row, ")
    assert node.end() == 0


def test_what_a_killed_node_left_is_swept(start, tmp_path):
    node = start()
    wait_until(lambda: len(node.tables()) == 1)
    node.end(signal.SIGKILL)
    (left,) = (tmp_path / "run").iterdir()
    node = start()
    wait_until(lambda: len(node.tables()) == 1)
    assert left not in list((tmp_path / "run").iterdir())


def test_several_sources_and_filtered_routes(tmp_path, tree):
    other = tmp_path / "other"
    (other / "routes").mkdir(parents=True)
    (other / "routes/r").write_text('{"IPVSMethod": "droute"}')
    (other / "services/web/backends").mkdir(parents=True)
    put(other, 1, weight=3)
    more = ["--config-source", f"file://{other}"]
    assert once(tmp_path, tree, *more)[1] == f"{ADD}\n{line(1, 3).replace('-m', '-g')}\n"
    assert once(tmp_path, tree, *more, "--filter-routes", f"file://{tree}")[1] == f"{ADD}\n{line(1, 3)}\n"


WRONG = {
    "no such flag": ["--unknown"],
    "an unknown role": ["--role", "cook"],
    "a bad URL": ["--config-source", "ftp://x"],
    "an URL that cannot be parsed": ["--config-source", "file://["],
    "a missing directory": ["--config-source", "file:///missing"],
    "a file for a directory": ["--config-source", "file:///etc/passwd"],
    "bytes that are not UTF-8 in an URL": ["--config-source", b"file:///tmp/\xff"],
    "bytes that are not UTF-8 in a directory": ["--state-dir", b"STATE\xff"],
    "a bad CIDR": ["--ipvs-exclude", "10.0.0.0/33"],
    "a bad scheduler": ["--ipvs-scheduler", "best"],
    "an unknown setting of IPVS": ["--ipvs-sysctl", "sync_version=1"],
    "a bad value of one": ["--ipvs-sysctl", "conn_reuse_mode=4"],
    "no name of an interface": ["--vip-interface", "eth0/1"],
    "two sync daemons of one role": ["--ipvs-sync", "both:eth1", "--ipvs-sync", "master:eth2"],
    "a bad method": ["--ipvs-forward-method", "walk"],
    "a bad level": ["--log-level", "loud"],
    "no number": ["--resync-interval", "soon"],
    "nan": ["--resync-interval", "nan"],
    "infinity": ["--once-timeout", "inf"],
    "a number out of range": ["--stuck-timeout", "0"],
    "no health process": ["--health-processes", "0"],
    "too many health processes": ["--health-processes", "65"],
    "half a health process": ["--health-processes", "0.5"],
    "a reference without a port": ["--health-reference", "192.0.2.1"],
    "a reference by name": ["--health-reference", "example.org:53"],
    "a reference that nobody is": ["--health-reference", "0.0.0.0:53"],
    "a file for the state directory": ["--state-dir", "/etc/passwd"],
    "a state directory below a file": ["--state-dir", "/etc/passwd/x"],
    "a state directory that cannot be made": ["--state-dir", "/proc/x"],
    "a runtime directory that cannot be made": ["--runtime-dir", "/proc/x"],
    "a missing settings file": ["--config", "/missing.toml"],
    "a directory for a settings file": ["--config", "/etc"],
    "binary settings": ["--config", "/bin/true"],
}


@pytest.mark.parametrize("what", WRONG)
def test_wrong_usage_ends_with_2_and_one_clear_line(tmp_path, tree, what):
    arguments = [os.fsencode(tmp_path / "s") + b"\xff" if a == b"STATE\xff" else a for a in WRONG[what]]
    base = [os.fsencode(a) for a in flags(tmp_path, "--noop", "--once", "--config-source", f"file://{tree}")]
    status, out, err = run(*base, *map(os.fsencode, arguments))
    assert (status, out) == (2, "")
    assert len([text for text in err.splitlines() if text.startswith("Error: ")]) == 1
    assert "ipvsadm" not in err


@pytest.mark.parametrize("missing", ["--role", "--config-source"])
def test_what_is_required_is_named(missing):
    given = {"--role": ["--config-source", "file:///"], "--config-source": ["--role", "ipvs"]}[missing]
    status, _, err = run(*given)
    assert status == 2
    assert missing in err


WRONG_TOML = [
    "x",
    "unknown = 1",
    "config = 'x'",
    "version = true",
    "role = 5",
    "role = ['ipvs', 5]",
    "[role]",
    "noop = 'maybe'",
    "noop = 1",
    "state-dir = ['x']",
    "state-dir = 2020-01-01",
    "resync-interval = true",
    "resync-interval = 'long'",
    "resync-interval = nan",
    "ipvs-scheduler = 'best'",
    "ipvs-exclude = ['x']",
    "ipvs-sync = ['master:eth1:256']",
    "ipvs-sync = 7",
    "ipvs-sysctl = 1",
    "ipvs-sysctl = ['on']",
    "ipvs-sysctl = 'maybe'",
    "health-processes = '2'",
    "health-processes = true",
    "health-processes = 2.0",
    "health-processes = 0",
    "health-reference = ['x']",
    "health-reference = 53",
    "log_level = 'info'",
]


@pytest.mark.parametrize("text", WRONG_TOML)
def test_wrong_settings_end_with_2_and_one_clear_line(tmp_path, tree, text):
    file = tmp_path / "node.toml"
    file.write_text(text)
    base = flags(tmp_path, "--once", "--config-source", f"file://{tree}", "--config", file)
    base = base[2:] if "role" in text else base
    base += [] if text.startswith("noop") else ["--noop"]
    # found out before anything is started: no process is needed
    result = CliRunner().invoke(main, list(map(str, base)))
    assert (result.exit_code, result.stdout) == (2, "")
    assert len([each for each in result.stderr.splitlines() if each.startswith("Error: ")]) == 1


def test_a_wrong_environment_ends_with_2(tmp_path, tree):
    for name, value in {
        "CLUSTERF_RESYNC_INTERVAL": "soon",
        "CLUSTERF_NOOP": "maybe",
        "CLUSTERF_IPVS_EXCLUDE": "x",
        "CLUSTERF_IPVS_SYNC": "master:eth1 master:eth1",
        "CLUSTERF_IPVS_SYSCTL": "sloppy_tcp=2",
        "CLUSTERF_HEALTH_PROCESSES": "many",
        "CLUSTERF_HEALTH_REFERENCE": "192.0.2.1:53 x",
    }.items():
        base = flags(tmp_path, "--once", "--config-source", f"file://{tree}")
        status, _, err = run(*base, *(["--noop"] if name != "CLUSTERF_NOOP" else []), env=os.environ | {name: value})
        assert status == 2
        assert "Error: " in err


def test_every_setting_may_be_in_the_environment(tmp_path, tree):
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


def test_every_setting_may_be_in_a_file_and_the_environment_and_flags_win(tmp_path, tree):
    file = tmp_path / "node.toml"
    file.write_text(f"""
        role = "ipvs"
        config-source = ["file://{tree}"]
        noop = true
        once = true
        print = true
        once-timeout = 30
        ipvs-scheduler = "rr"
        ipvs-exclude = ["10.9.0.0/16"]
        ipvs-sync = "both:eth1:7"
        health-processes = 2
        health-reference = ["192.0.2.1:53", "[2001:db8::1]:53"]
        state-dir = "{tmp_path}/state"
        runtime-dir = "{tmp_path}/run"
    """)

    def scheduler(*arguments, **environment):
        status, out, _ = run("--config", file, *arguments, env=os.environ | environment)
        assert status == 0
        return out.splitlines()[0].rpartition(" ")[2]

    assert scheduler() == "rr"
    assert scheduler(CLUSTERF_IPVS_SCHEDULER="lc") == "lc"
    assert scheduler("--ipvs-scheduler", "sh", CLUSTERF_IPVS_SCHEDULER="lc") == "sh"


def test_virtual_servers_that_are_excluded_are_not_made(tmp_path, tree):
    _, out, _ = once(tmp_path, tree, "--ipvs-exclude", "10.107.0.1/16")
    assert out == ""


@needs_no_ipvs
def test_addresses_are_added_before_their_virtual_servers(tmp_path, tree):
    status, _, err = once(tmp_path, tree, "--vip-interface", "lo")
    assert status == 0
    first, second, *_ = (line for line in err.splitlines() if line.startswith("ipvs noop: "))
    assert (first, second) == ("ipvs noop: ip address add 10.107.107.107/32 dev lo", f"ipvs noop: ipvsadm {ADD}")


def test_without_ipvs_one_line_names_the_module(tmp_path, tree):
    status, out, err = run(*flags(tmp_path, "--config-source", f"file://{tree}"))
    assert (status, out) == (1, "")
    assert len(err.splitlines()) == 1
    assert "ip_vs" in err


@needs_no_ipvs
def test_a_second_node_that_writes_with_the_same_state_is_refused(tmp_path, tree):
    (tmp_path / "state").mkdir()
    with (tmp_path / "state/lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        status, _, err = run(*flags(tmp_path, "--config-source", f"file://{tree}"))
        assert status == 1
        assert "another clusterf-node" in err
        assert once(tmp_path, tree)[0] == 0


@needs_no_ipvs
def test_a_node_waits_for_a_writer_that_is_about_to_end(tmp_path, tree):
    (tmp_path / "state").mkdir()
    with (tmp_path / "state/lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        threading.Timer(1, fcntl.flock, (lock, fcntl.LOCK_UN)).start()
        _, _, err = run(*flags(tmp_path, "--config-source", f"file://{tree}"))
        assert "ip_vs" in err  # it got past the lock


def test_a_reader_that_takes_only_the_first_line_does_no_harm(tmp_path, tree):
    reading, writing = os.pipe()
    os.close(reading)
    arguments = flags(tmp_path, "--noop", "--once", "--print", "--config-source", f"file://{tree}")
    done = subprocess.run(
        [*COMMAND, *map(os.fspath, arguments)], stdout=writing, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(writing)
    assert done.returncode == 0
    assert "Broken pipe" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("closed", [1, 2])
def test_a_standard_stream_that_is_closed_does_no_harm(tmp_path, tree, closed):
    arguments = flags(tmp_path, "--noop", "--once", "--print", "--config-source", f"file://{tree}")
    shell = ["sh", "-c", f'exec "$@" {closed}>&-', "sh", *COMMAND, *map(os.fspath, arguments)]
    done = subprocess.run(shell, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert done.stdout == ("" if closed == 1 else f"{ADD}\n{line(1)}\n")
    assert "Traceback" not in done.stderr


def test_json_logs_are_one_object_a_line(tmp_path, tree):
    (tree / "services/web/backends/2").write_text("{")
    _, _, err = once(tmp_path, tree, "--log-format", "json")
    lines = [msgspec.json.decode(text) for text in err.splitlines()]
    assert any(entry["message"].startswith("ipvs noop: ipvsadm -A") for entry in lines)
