"""Upgrades from the unit and the Compose file of earlier versions, and back: nothing is written, no weight changes."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from actors.settings import INCOMPLETE, PROBE
from clusterf.host.capabilities import CAP_DAC_READ_SEARCH, CAP_NET_ADMIN
from tests.system.node.test_privileges import capabilities
from tests.system.support.node import Node, Tree
from tests.system.support.unit import ANALYZE, Unit, open_folder
from tests.system.support.web import Web

pytestmark = [
    pytest.mark.ipvs,
    pytest.mark.skipif(ANALYZE is None, reason="systemd-analyze is missing: tests/lab/install"),
]

# what restricts a node in the unit of before, and in the Compose file of before
UNIT_BEFORE = Unit("""[Service]
StateDirectoryMode=0700
RuntimeDirectoryMode=0700
CapabilityBoundingSet=CAP_NET_ADMIN CAP_DAC_READ_SEARCH CAP_SETPCAP
NoNewPrivileges=yes
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
ProtectControlGroups=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
LockPersonality=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
""")
# (the code is where all may read it, as in an image)
COMPOSE_BEFORE = Unit("""[Service]
ProtectHome=yes
PrivateTmp=yes
CapabilityBoundingSet=CAP_NET_ADMIN CAP_DAC_READ_SEARCH CAP_SETPCAP
""")
COMPOSE = Unit("""[Service]
ProtectHome=yes
PrivateTmp=yes
CapabilityBoundingSet=CAP_NET_ADMIN CAP_CHOWN CAP_DAC_OVERRIDE CAP_DAC_READ_SEARCH CAP_FOWNER CAP_KILL
CapabilityBoundingSet=CAP_SETGID CAP_SETPCAP CAP_SETUID
""")
UNIT = Unit.read("clusterf-node.service")
MISSING = "CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_FOWNER, CAP_KILL, CAP_SETGID, CAP_SETUID"


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that all may enter, unlike those that pytest makes."""
    with open_folder() as folder:
        yield folder


@pytest.fixture
def web(namespace: None, place: Path) -> Iterator[Web]:
    """A service of two backends, of which b2 is down."""
    tree = Tree(place / "tree")
    tree.clear()
    with Web(tree) as web:
        web.serve("b1")
        web.put_check()
        web.put_frontend()
        web.put_backends("b1", "b2")
        yield web


def node_of(place: Path, unit: Unit) -> Node:
    return Node(place, Tree(place / "tree"), through=unit.prefix(place))


def node_in_container(place: Path, unit: Unit) -> Node:
    """Return a node whose volume stays as it was left."""
    return Node(place, Tree(place / "tree"), through=unit.command([place / "state", place / "run"], [place]))


def lay_out_as_before(state: Path) -> None:
    """Turn a state directory into one of an earlier version: all of it root's, with verdicts beside the rest."""
    for file in (state / PROBE).iterdir():
        file.rename(state / file.name)
    (state / PROBE).rmdir()
    for path in (state, *state.iterdir()):
        os.chown(path, 0, 0)
        path.chmod(0o700 if path == state else 0o644)


def owners(place: Path) -> dict[str, int]:
    """Return the owner of each file and directory of state."""
    return {
        str(path.relative_to(place)): path.stat().st_uid for path in (place / "state", *(place / "state").rglob("*"))
    }


def wait_for_verdicts(node: Node, web: Web) -> None:
    web.wait(node, b1=10, b2=0)
    node.wait_for_log("web/b2: .* is down")


def warnings(node: Node) -> list[str]:
    """Return what it has warned of but for the backend that is down."""
    found = re.findall("^warning: (.*)$", node.log, re.MULTILINE)
    return [line for line in found if " is down: " not in line]


def check_nothing_changes(node: Node, web: Web) -> None:
    """Assert that a node that starts knows all verdicts, writes nothing, and still notices what changes."""
    with node.explained():
        web.wait_for_probes(node, 3)
        assert "probing 2 targets, 2 verdicts known" in node.log
        assert node.operations == []
        assert web.weights() == {"b1": 10, "b2": 0}
        assert not re.search("^error", node.log, re.MULTILINE)


def check_all_are_root(node: Node) -> None:
    """Assert that processes are root's with reduced capabilities, and that it is said once what is missing."""
    expected = {"config": 1 << CAP_DAC_READ_SEARCH, "health": 0, "director": 1 << CAP_NET_ADMIN}
    for name, pid in node.children().items():
        assert Path(f"/proc/{pid}").stat().st_uid == 0
        assert capabilities(pid)["CapPrm"] == expected[name]
    assert re.findall("^warning: (privileges: .*)$", node.log, re.MULTILINE) == [
        f"privileges: all processes run as root, with reduced capabilities: {MISSING} are missing"
    ]


def check_users(node: Node, place: Path) -> None:
    """Assert that processes have users of their own, and these their files."""
    users = {name: Path(f"/proc/{pid}").stat().st_uid for name, pid in node.children().items()}
    assert 0 not in users.values()
    assert users["health"] != users["config"]
    for path, uid in owners(place).items():
        assert uid == users["health" if path.startswith(f"state/{PROBE}") else "config"], path
    assert warnings(node) == []


def test_upgrade_under_the_unit_of_before_then_the_new_one_and_back(place: Path, web: Web) -> None:
    with node_of(place, UNIT_BEFORE) as node:
        wait_for_verdicts(node, web)
        check_all_are_root(node)
    lay_out_as_before(place / "state")
    with node_of(place, UNIT_BEFORE) as node:
        check_nothing_changes(node, web)
        check_all_are_root(node)
    lay_out_as_before(place / "state")
    for _ in range(2):
        with node_of(place, UNIT) as node:
            check_nothing_changes(node, web)
            check_users(node, place)
    with node_of(place, UNIT_BEFORE) as node:
        check_nothing_changes(node, web)
        check_all_are_root(node)
        assert set(owners(place).values()) == {0}
        assert len(warnings(node)) == 1


def test_verdicts_are_the_newer_ones_if_the_earlier_version_has_run_meanwhile(place: Path, web: Web) -> None:
    with node_of(place, UNIT) as node:
        wait_for_verdicts(node, web)
    (place / "state" / PROBE).rename(place / "stale")
    web.serve("b2")
    with node_of(place, UNIT_BEFORE) as node:
        web.wait(node, b1=10, b2=10)
    lay_out_as_before(place / "state")
    (place / "stale").rename(place / "state" / PROBE)
    with node_of(place, UNIT) as node:
        web.wait_for_probes(node, 3)
        assert "probing 2 targets, 2 verdicts known" in node.log
        assert node.operations == []
        assert web.weights() == {"b1": 10, "b2": 10}


def test_what_could_not_be_written_before_the_upgrade_is_still_noted(place: Path, web: Web) -> None:
    with node_of(place, UNIT_BEFORE) as node:
        wait_for_verdicts(node, web)
    lay_out_as_before(place / "state")
    # (the names have the checksum of the path, which the verdicts change)
    from clusterf.lib.state_mark import void_name

    for name in ("config.db", "health.db", "ipvs.db"):
        (place / "run" / void_name(place / "state" / name)).touch()
    with node_of(place, UNIT) as node:
        node.wait_for_log(r"ipvs\.db: may be out of date")
        web.wait_for_probes(node, 3)
        assert node.operations == []
        assert "probing 2 targets, 0 verdicts known" in node.log
        assert [path.name for path in (place / "run").glob("incomplete-*-*")] == []
        assert (place / "run" / INCOMPLETE).stat().st_uid != 0


def test_container_with_the_capabilities_of_before_whose_state_is_of_other_users(place: Path, web: Web) -> None:
    (place / "state").mkdir(mode=0o700)
    (place / "run").mkdir()
    with node_in_container(place, COMPOSE) as node:
        wait_for_verdicts(node, web)
        check_users(node, place)
        config = owners(place)["state"]
    with node_in_container(place, COMPOSE_BEFORE) as node:
        web.wait_for_probes(node, 3)
        node.wait_for_log("web/b2: .* is down")
        check_all_are_root(node)
        assert node.operations == []
        assert f"state: not writable, owned by user {config}: chown -R 0: {place}/state: continuing without" in node.log
    for path in (place / "state", *(place / "state").rglob("*")):
        os.chown(path, 0, 0)
    with node_in_container(place, COMPOSE_BEFORE) as node:
        web.wait_for_probes(node, 3)
        node.wait_for_log("web/b2: .* is down")
        check_all_are_root(node)
        assert node.operations == []
        assert "ipvs.db: may be out of date (ignored)" in node.log, "it was not written meanwhile"
    with node_in_container(place, COMPOSE) as node:
        check_nothing_changes(node, web)
        check_users(node, place)
