"""What README.md shows is what a node says."""

import re
import shutil
from pathlib import Path

import pytest

from tests.actors.node_process import NodeProcess
from tests.waiting import wait_until

ROOT = Path(__file__).parents[2]


def shown(name):
    block = re.search(rf"<!-- {name}:begin -->\n(.*?)<!-- {name}:end -->", (ROOT / "README.md").read_text(), re.DOTALL)
    return [line.strip() for line in block[1].splitlines() if line.strip() and not line.strip().startswith("$")]


@pytest.fixture
def example(tmp_path):
    shutil.copytree(ROOT / "configs/example", tmp_path / "configs/example")
    return tmp_path / "configs/example"


def test_the_readme_shows_what_a_node_logs(example, tmp_path):
    web2 = example / "services/web/backends/web2"
    directories = ["--state-dir", tmp_path / "state", "--runtime-dir", tmp_path / "run"]
    node = NodeProcess(tmp_path, "--role", "ipvs", "--noop", "--config-source", f"file://{example}", *directories)
    try:
        begin, edit, (bad,) = shown("example"), shown("edit"), shown("bad")
        wait_until(lambda: [line for line in node.log().splitlines() if line.startswith("ipvs noop")] == begin)
        web2.write_text('{"ipv4": "10.3.107.2", "tcp": 1337, "weight": 5}')
        wait_until(lambda: node.log().splitlines()[-len(edit) :] == edit)
        web2.write_text('{"ipv4": "10.3.107.2", "tcp": 99999}')
        line = re.escape(bad).replace("…", ".*")
        wait_until(lambda: re.fullmatch(line, node.log().splitlines()[-1]))
    finally:
        assert node.end() == 0
