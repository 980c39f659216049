"""The tool at an etcd that lies: what it prints is printable, and one line for an error."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from clusterf.lib.text import printable
from tests.clusterf.support.command import clusterf, write
from tests.clusterf.support.hostile_etcd import HOSTILE, going_away, lying

pytestmark = pytest.mark.process
CLUSTERF = Path(sys.executable).with_name("clusterf")


@pytest.mark.parametrize("server", [going_away, lying])
@pytest.mark.parametrize("command", ["show", "check", "watch", "dump", "load"])
def test_error_of_etcd_is_one_printable_line(server, command, tmp_path):
    folder = [write(tmp_path / "tree", {"routes/r": ""})] if command == "load" else []
    folder = [tmp_path / "dump"] if command == "dump" else folder
    with server() as endpoint:
        words = [CLUSTERF, "config", command, f"etcd://{endpoint}/clusterf", *folder]
        done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"Error: {endpoint}: ")
    assert r"sorry\x0aipvs noop: touch /tmp/owned" in line
    assert printable(line) == line


@pytest.mark.parametrize("as_json", [[], ["--json"]])
def test_tree_is_shown_and_checked_in_printable_lines(as_json, tmp_path):
    names = {f"services/{HOSTILE.replace('/', '|').strip()}/frontend": json.dumps({"ipv4": HOSTILE, HOSTILE: 1})}
    values = {"routes/r": json.dumps({"prefix": "10.0.0.0/8", "x": HOSTILE}, ensure_ascii=False)}
    tree = write(tmp_path / "tree", names | values)
    for command in ("show", "check"):
        result = clusterf("config", command, f"file://{tree}", *as_json)
        lines = result.output.split("\n")
        assert len(lines) > 1
        assert all(printable(line) == line for line in lines)
        assert not any(line.startswith("ipvs") for line in lines)
