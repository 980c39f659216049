"""The log lines in README.md are those of a node."""

import re
import shutil
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.actors.support.node_process import NodeProcess
from tests.processes import started
from tests.waiting import wait_until

pytestmark = pytest.mark.process

ROOT = Path(__file__).parents[2]


def shown(name):
    block = re.search(rf"<!-- {name}:begin -->\n(.*?)<!-- {name}:end -->", (ROOT / "README.md").read_text(), re.DOTALL)
    return [line.strip() for line in block[1].splitlines() if line.strip() and not line.strip().startswith("$")]


DURATION = re.compile(r"[\d.]+ ms")


@pytest.fixture
def example(tmp_path):
    """A copy of the example, whose demo backends have addresses of their own."""
    shutil.copytree(ROOT / "configs/example", tmp_path / "configs/example")
    return tmp_path / "configs/example"


@contextmanager
def demo_backend(number):
    www = ROOT / "configs/demo/www"
    command = [sys.executable, "-m", "http.server", "8080", "--bind", f"127.107.107.{number}", "--directory", www]
    with started(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL):
        yield


def test_readme_shows_the_log_of_a_node(example, tmp_path):
    web2 = example / "services/web/backends/web2"
    directories = ["--state-dir", tmp_path / "state", "--runtime-dir", tmp_path / "run"]
    command = ["--role", "ipvs", "--noop", "--config-source", f"file://{example}", *directories]
    with ExitStack() as stack, ExitStack() as second:
        stack.enter_context(demo_backend(1))
        second.enter_context(demo_backend(2))
        node = NodeProcess(tmp_path, *command)
        stack.callback(node.end)

        def logged():
            return DURATION.sub("N ms", node.log()).splitlines()

        def shows(name):
            # in any order, as two processes log
            expected = sorted(DURATION.sub("N ms", line) for line in shown(name))
            wait_until(lambda: sorted(logged()[-len(expected) :]) == expected)

        # the first verdicts and the first operations come in any order
        begin = {DURATION.sub("N ms", line) for line in shown("example")}
        wait_until(
            lambda: {line for line in replaced(logged()) if line.startswith(("health: demo", "ipvs noop"))} == begin
        )
        second.close()
        shows("down")
        stack.enter_context(demo_backend(2))
        shows("up")
        web2.write_text('{"ipv4": "10.3.107.2", "tcp": 1337, "weight": 5}')
        shows("edit")
        web2.write_text('{"ipv4": "10.3.107.2", "tcp": 99999}')
        (bad,) = shown("bad")
        line = re.escape(bad).replace("…", ".*")
        wait_until(lambda: re.fullmatch(line, node.log().splitlines()[-1]))
        assert node.end() == 0


def replaced(lines):
    """The lines, with a real server that was added with weight 0 and then changed added with its final weight."""
    text = "\n".join(lines)
    pattern = r"(ipvs noop: ipvsadm) -a (-t \S+ -r 127\S+ -m) -w 0\n((?:.*\n)*?)\1 -e \2 -w 10"
    while (text := re.sub(pattern, r"\1 -a \2 -w 10\n\3", before := text)) != before:
        pass  # between the two lines of one may be those of another
    return text.splitlines()
