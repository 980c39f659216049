"""The systemd units: their score, and a node that works under the restrictions of each, imposed by hand."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from clusterf.host.capabilities import CAP_NET_ADMIN, CAP_NET_RAW
from tests.system.node.test_privileges import capabilities
from tests.system.support.node import NODE, Node, Tree
from tests.system.support.unit import ANALYZE, UNITS, Unit, open_folder
from tests.system.support.web import Web

ROOT_UNIT, OWN_USER = "clusterf-node.service", "clusterf-node-unprivileged.service"
# what the units say about --vip-interface
WITH_VIPS = {
    ROOT_UNIT: "CapabilityBoundingSet=CAP_NET_RAW\nRestrictAddressFamilies=AF_PACKET",
    OWN_USER: "CapabilityBoundingSet=CAP_NET_RAW\nAmbientCapabilities=CAP_NET_RAW\nRestrictAddressFamilies=AF_PACKET",
}
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can restrict as systemd does")
with_systemd = pytest.mark.skipif(ANALYZE is None, reason="systemd-analyze is missing: tests/lab/install")
each_unit = pytest.mark.parametrize("name", [ROOT_UNIT, OWN_USER])


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that all may enter, unlike those that pytest makes."""
    with open_folder() as folder:
        yield folder


@pytest.fixture
def tree(place: Path) -> Tree:
    tree = Tree(place / "tree")
    tree.clear()
    return tree


def node_of(place: Path, tree: Tree, unit: Unit, *flags: str) -> Node:
    """Return a node that a unit starts."""
    assert unit.get("ExecStart") == "/usr/local/bin/clusterf-node --config /etc/clusterf/node.toml"
    (place / "node.toml").write_text('log-level = "info"\nremoval-hold = 3600\n')
    command = [str(NODE), "--config", str(place / "node.toml")]
    return Node(place, tree, flags=flags, through=unit.prefix(place), command=command)


def users(node: Node) -> dict[str, int]:
    """Return the user of each process."""
    return {name: Path(f"/proc/{pid}").stat().st_uid for name, pid in node.children().items()}


def check_processes(node: Node, unit: Unit, of_director: int) -> None:
    """Assert that each process has the user that it is to have, and only its capabilities."""
    expected = {}
    for name in ("config", "health", "director"):
        only = of_director if name == "director" else 0
        bounding = only if unit.user.uid == 0 else unit.capabilities  # which takes CAP_SETPCAP to change
        expected[name] = {"CapInh": 0, "CapPrm": only, "CapEff": only, "CapBnd": bounding, "CapAmb": 0}
    # (a process confines itself once it has loaded its code)
    node.wait_for(lambda: {name: capabilities(pid) for name, pid in node.children().items()} == expected)
    assert capabilities(node.pid)["CapBnd"] == unit.capabilities
    found = users(node)
    assert 0 not in found.values()
    assert found["config"] == found["director"]
    assert (found["health"] == found["config"]) == (unit.user.uid != 0)
    assert "privileges:" not in node.log


@with_systemd
@pytest.mark.parametrize(("name", "most"), [(ROOT_UNIT, 33), (OWN_USER, 24)])
def test_unit_scores_as_promised(name: str, most: int) -> None:
    command = [str(ANALYZE), "security", "--offline=true", f"--threshold={most}", "--no-pager", str(UNITS / name)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@with_systemd
def test_each_point_that_a_unit_does_not_get_is_explained() -> None:
    explained = re.findall(r"^\| `([^|]*)` \|", (UNITS.parents[1] / "docs/operations.md").read_text(), re.MULTILINE)
    settings = {setting for cell in explained for setting in cell.split("`, `")}
    for name in (ROOT_UNIT, OWN_USER):
        command = [str(ANALYZE), "security", "--offline=true", "--no-pager", str(UNITS / name)]
        shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        missing = set(re.findall(r"^✗ ([A-Za-z/]+)=", shown, re.MULTILINE))
        assert missing
        assert missing <= settings


ATTEMPTS = """
import ctypes, mmap, os, socket
libc = ctypes.CDLL(None, use_errno=True)
def attempt(name, what):
    try:
        result = what()
    except (OSError, PermissionError) as error:
        print(name, errno.errorcode[error.errno])
    else:
        print(name, "done")
def call(*arguments):
    if libc.syscall(*arguments) < 0:
        raise OSError(ctypes.get_errno(), "")
import errno
attempt("/etc", lambda: open("/etc/clusterf-test", "w"))
attempt("place", lambda: open(PLACE + "/file", "w"))
attempt("state", lambda: open(PLACE + "/state/file", "w"))
attempt("tmp", lambda: open("/tmp/file", "w"))
attempt("mem", lambda: open("/dev/mem"))
attempt("null", lambda: open("/dev/null", "w"))
attempt("packet", lambda: socket.socket(17, socket.SOCK_RAW))
attempt("netlink", lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW))
attempt("namespace", lambda: call(272, 0x10000000))
attempt("executable memory", lambda: mmap.mmap(-1, 4096, prot=mmap.PROT_WRITE | mmap.PROT_EXEC))
attempt("personality", lambda: call(135, 0x0040000))
attempt("set-id", lambda: os.chmod(PLACE + "/state/file", 0o4755))
attempt("keyring", lambda: call(250, 0, -1, 0))
attempt("mount", lambda: call(165, b"x", b"/tmp", b"tmpfs", 0, b""))
attempt("affinity", lambda: os.sched_setaffinity(0, {0}))
"""


@as_root
@with_systemd
@each_unit
def test_restrictions_are_in_force(name: str, place: Path) -> None:
    command = [*Unit.read(name).prefix(place), sys.executable, "-I", "-c", f"PLACE = {str(place)!r}\n{ATTEMPTS}"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    results = dict(line.rsplit(" ", 1) for line in done.stdout.splitlines())
    assert {name for name, result in results.items() if result == "done"} == {"state", "tmp", "null", "netlink"}
    assert len(results) == 15
    assert results["packet"] == "EAFNOSUPPORT"
    assert results["/etc"] == "EROFS"


@as_root
@with_systemd
@each_unit
def test_node_works_under_the_restrictions_of_a_unit_without_a_table(name: str, place: Path, tree: Tree) -> None:
    unit = Unit.read(name)
    with Web(tree) as web:
        web.serve("b1")
        web.put_check()
        web.put_frontend()
        web.put_backends("b1", "b2")
        with node_of(place, tree, unit, "--noop") as node:
            web.wait_for_shadow(node, b1=10, b2=0)
            check_processes(node, unit, 1 << CAP_NET_ADMIN)


@pytest.mark.ipvs
@with_systemd
@each_unit
def test_node_works_under_the_restrictions_of_a_unit(name: str, namespace: None, place: Path, tree: Tree) -> None:
    unit = Unit.read(name)
    with Web(tree) as web:
        web.serve("b1", "b2")
        web.put_check()
        web.put_frontend()
        web.put_backends("b1", "b2")
        for number in range(10):  # as many as it takes for their removal to be held
            tree.service(f"more{number}", {"ipv4": f"10.1.0.{number}", "tcp": 80})
        with node_of(place, tree, unit) as node:
            web.wait(node, b1=10, b2=10)
            check_processes(node, unit, 1 << CAP_NET_ADMIN)
            web.stop("b2")
            web.wait(node, b1=10, b2=0)
            web.serve("b2")
            web.wait(node, b1=10, b2=10)
            node.send(signal.SIGHUP)
            node.wait_for_log("^reloading$")
            for number in range(10):
                tree.remove(f"services/more{number}")
            node.wait_for_log("would be removed at once: held")
            confirm = [str(NODE.with_name("clusterf")), "config", "confirm", "--runtime-dir", str(place / "run")]
            subprocess.run(confirm, check=True)
            node.wait_for(lambda: node.tables and not any("10.1.0." in line for line in node.tables[-1]))
            node.kill("health", "director", "config")
            check_processes(node, unit, 1 << CAP_NET_ADMIN)
            web.wait(node, b1=10, b2=10)
        unit.make_directories(place / "state", place / "run")
        with node:
            web.wait_for_probes(node, 2)
            assert node.operations == [], "nothing changes at a restart"
            assert "warning" not in node.log


@pytest.mark.ipvs
@with_systemd
@each_unit
def test_node_has_vips_with_the_documented_additions(name: str, namespace: None, place: Path, tree: Tree) -> None:
    unit = Unit.read(name, WITH_VIPS[name])
    subprocess.run(
        "ip link add wire type veth peer name other; ip link set wire up; ip link set other up", shell=True, check=True
    )
    tree.service("web", {"ipv4": "10.9.0.107", "tcp": 80}, b={"ipv4": "10.3.0.1", "tcp": 80})
    with node_of(place, tree, unit, "--vip-interface", "wire") as node:
        node.wait_for_log(r"10\.9\.0\.107")
        shown = ["ip", "-o", "address", "show", "dev", "wire"]
        node.wait_for(lambda: "10.9.0.107" in subprocess.run(shown, capture_output=True, text=True, check=True).stdout)
        check_processes(node, unit, 1 << CAP_NET_ADMIN | 1 << CAP_NET_RAW)
        assert not re.search("^(warning|error)", node.log, re.MULTILINE), node.log
