"""What code can do that has taken over a process of a node: nothing but what the process is for."""

import os
import re
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.clusterf.host.test_landlock import VERSION
from tests.system.support.inside import command
from tests.system.support.node import PATIENCE, Node, Tree, saved
from tests.waiting import wait_until

ATTACK = Path(__file__).parents[1] / "support/attack.py"
ENVIRONMENT = {"CLUSTERF_ETCD_PASSWORD": "secret", "DOCKER_CERT_PATH": "/root/.docker", "SOMETHING": "else"}
REFUSED = {"EACCES", "EPERM", "EROFS", "EAFNOSUPPORT", "EINVAL", "ENXIO", "ENOTSOCK", "ESPIPE"}


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory that all may enter, unlike those that pytest makes; and a node's environment."""
    for variable, value in ENVIRONMENT.items():
        monkeypatch.setenv(variable, value)
    place = Path(tempfile.mkdtemp(prefix="clusterf-inside-", dir="/var/tmp"))
    place.chmod(0o755)
    (place / "secret").write_text("secret")
    (place / "secret").chmod(0o600)
    (place / "public").write_text("public")
    with socket.socket(socket.AF_UNIX) as local, socket.socket(socket.AF_UNIX) as abstract:
        local.bind(str(place / "local"))
        (place / "local").chmod(0o666)
        abstract.bind(f"\0{place}")
        for listening in (local, abstract):
            listening.listen()
        yield place
    shutil.rmtree(place)


def attacked(process: str, place: Path, *flags: str) -> Node:
    """Return a node that is attacked from inside one of its processes, with a service that it serves."""
    tree = Tree(place / "tree")
    tree.clear()
    tree.service("web", {"ipv4": "10.1.0.1", "tcp": 80}, one={"ipv4": "10.2.0.1", "tcp": 80})
    attack = place / "attack.py"
    where_all_may = tempfile.gettempdir()
    assert Path(where_all_may).stat().st_mode & 0o7 == 0o7
    attack.write_text(f"PLACE, OPEN, PROCESS = {str(place)!r}, {where_all_may!r}, {process!r}\n{ATTACK.read_text()}")
    return Node(place, tree, flags=flags, command=command(process, attack))


class Outcome(NamedTuple):
    """What became of each attempt, and what the process has."""

    results: dict[str, str]
    environment: set[str]
    descriptors: set[str]
    uid: str


def outcome(node: Node) -> Outcome:
    node.wait_for_log("inside: (the end|failed)")
    found = re.findall(r"inside: (?:inside: )?(.*): (.*)$", node.log, re.MULTILINE)
    results = {name: result for name, result in found if name not in {"environment", "descriptor", "uid", "inside"}}
    assert "signal supervisor" in results, node.log
    return Outcome(
        results,
        {value for name, value in found if name == "environment"},
        {value for name, value in found if name == "descriptor"},
        dict(found)["uid"],
    )


def judge(process: str, outcome: Outcome, place: Path) -> None:
    """Assert that every attempt has failed, and that nothing was inherited that is not needed."""
    expected = dict(outcome.results)
    if not VERSION:  # what only Landlock stops
        assert expected.pop("write where all may") in {"done", *REFUSED}
    assert {name: result for name, result in expected.items() if result not in REFUSED} == {}
    assert outcome.uid != "0"
    assert (place / "public").read_text() == "public"
    allowed = ("TZ", "LC_", "LANG", "LD_LIBRARY_PATH", "SSL_CERT_", "GRPC_")
    inherited = {variable for variable in outcome.environment if not variable.startswith(allowed)}
    assert inherited == ({"CLUSTERF_ETCD_PASSWORD"} if process == "config" else set())
    ours = (f"{place}/state/", "socket:", "pipe:", "anon_inode:", "/dev/null")
    ours += (f"{place}/printed", f"{place}/log") if process == "director" else ()
    assert {path for path in outcome.descriptors if not path.startswith(ours)} == set()
    others = ("config.db", "ipvs.db", "lock") if process == "health" else ("health.db",)
    assert not any(path.endswith(others) for path in outcome.descriptors)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can start processes of other users")
@pytest.mark.parametrize("process", ["config", "health", "director"])
def test_attack_from_inside_a_process_gets_nowhere(process: str, place: Path) -> None:
    with attacked(process, place, "--noop") as node:
        judge(process, outcome(node), place)
        # (a process that says what it must not say is restarted)
        wait_until(lambda: node.children().keys() == {"config", "health", "director"}, PATIENCE)
        wait_until(lambda: len(node.operations) == 2, PATIENCE)


@pytest.mark.ipvs
@pytest.mark.parametrize("process", ["config", "health", "director"])
def test_table_never_changes_whatever_is_tried_inside_a_process(namespace: None, process: str, place: Path) -> None:
    with attacked(process, place) as node:
        judge(process, outcome(node), place)
        node.wait_for_table(["-A -t 10.1.0.1:80 -s wlc", "-a -t 10.1.0.1:80 -r 10.2.0.1:80 -m -w 10"])
        assert saved() == ["-A -t 10.1.0.1:80 -s wlc", "-a -t 10.1.0.1:80 -r 10.2.0.1:80 -m -w 10"]
        assert not any(" -D " in operation or " -C" in operation for operation in node.operations)
