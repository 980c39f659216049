"""The capabilities of the processes of a node."""

import re
from pathlib import Path

import pytest

from clusterf.host.capabilities import CAP_DAC_READ_SEARCH, CAP_NET_ADMIN
from tests.system.support.node import Node, Tree, saved

pytestmark = pytest.mark.ipvs


def capabilities(pid: int) -> dict[str, int]:
    """Return the capability sets of a process, by name."""
    status = Path(f"/proc/{pid}/status").read_text()
    return {name: int(mask, 16) for name, mask in re.findall(r"^(Cap\w+):\s+(\w+)$", status, re.MULTILINE)}


def test_each_process_keeps_only_its_capability(live: tuple[Node, Tree]) -> None:
    node, _ = live
    children = node.children()

    assert children.keys() == {"config", "health", "director"}
    for name, only in (("config", 1 << CAP_DAC_READ_SEARCH), ("health", 0), ("director", 1 << CAP_NET_ADMIN)):
        found = capabilities(children[name])
        assert found == {"CapInh": 0, "CapPrm": only, "CapEff": only, "CapBnd": only, "CapAmb": 0}
        assert "NoNewPrivs:\t1" in Path(f"/proc/{children[name]}/status").read_text()


@pytest.mark.parametrize("flags", [[], ["--once"]])
def test_missing_capability_is_one_line_and_exit_status_1(
    namespace: None, tmp_path: Path, tree: Tree, flags: list[str]
) -> None:
    tree.service("web", {"ipv4": "10.1.0.1", "tcp": 80})
    node = Node(tmp_path, tree, through=["setpriv", "--bounding-set=-net_admin"])

    node.start(*flags)

    assert node.wait() == 1
    assert re.fullmatch("error: the capability CAP_NET_ADMIN is missing: .*\n", node.log)
    assert saved() == []
