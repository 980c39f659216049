"""A node whose state directory is full, read-only, gone or another one: what it writes, and what it believes later."""

import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.support.disk import Disk
from tests.system.support.node import Node, Tree, ipvsadm, saved, table
from tests.system.support.web import Web

pytestmark = pytest.mark.ipvs

WEB = "-A -t 10.1.0.1:80 -s wlc\n-a -t 10.1.0.1:80 -r 10.3.0.1:80 -m -w 10\n"
API = "-A -t 10.1.0.2:80 -s wlc\n-a -t 10.1.0.2:80 -r 10.3.0.1:80 -m -w 10\n"
FOREIGN = "-A -t 10.1.0.2:80 -s rr\n-a -t 10.1.0.2:80 -r 10.98.0.1:80 -m -w 3\n"


@pytest.fixture
def disk(node: Node) -> Iterator[Disk]:
    """The disk of the node's state directory."""
    with Disk(node.state) as disk:
        yield disk


@pytest.fixture
def both(tree: Tree) -> Tree:
    """A configuration of two services."""
    backend = {"ipv4": "10.3.0.1", "tcp": 80}
    tree.service("web", {"ipv4": "10.1.0.1", "tcp": 80}, b=backend)
    tree.service("api", {"ipv4": "10.1.0.2", "tcp": 80}, b=backend)
    return tree


def remove_api_on_a_full_disk(node: Node, tree: Tree, disk: Disk) -> None:
    node.wait_for_table(WEB + API)
    disk.fill()
    tree.put("routes/default", {"IPVSMethod": "masq"})
    node.wait_for_log(r"state: .*/config\.db: cannot be written")
    disk.fill()  # with what its mark has left
    tree.remove("services/api")
    node.wait_for_table(WEB)
    node.wait_for_log(r"state: .*/ipvs\.db: cannot be written, retrying")


def test_change_on_a_full_disk_is_written_once_there_is_space(node: Node, both: Tree, disk: Disk) -> None:
    node.start()
    remove_api_on_a_full_disk(node, both, disk)
    disk.free()
    node.wait_for_log(r"state: .*/ipvs\.db: written again, nothing is missing")
    assert len([line for line in node.log.splitlines() if "ipvs.db" in line]) == 2
    node.crash()
    ipvsadm("-R", stdin=FOREIGN)
    with node:
        node.wait_for_table(WEB + FOREIGN)
        assert "out of date" not in node.log
        assert node.operations == []


def test_last_good_values_are_known_to_a_node_that_starts_on_a_full_disk(node: Node, both: Tree, disk: Disk) -> None:
    with node:
        node.wait_for_table(WEB + API)
    disk.fill()
    (both.folder / "services/web/frontend").write_text("{")
    with node:
        node.wait_for_log(r"state: .*/config\.db: cannot be written, retrying")
        node.wait_for_log(r"services/web/frontend: .* \(keeping the previous valid value\)")
        both.put("services/api/backends/b", {"ipv4": "10.3.0.1", "tcp": 80, "weight": 3})
        node.wait_for_table(WEB + API.replace("-w 10", "-w 3"))
        assert not [line for line in node.operations if " -d " in line or " -D " in line]


def test_invalid_value_takes_nothing_though_the_config_process_has_lost_its_records(node: Node, both: Tree) -> None:
    with node:
        node.wait_for_table(WEB + API)
        (both.folder / "services/web/frontend").write_text("{")
        node.wait_for_log(r"services/web/frontend: .* \(keeping the previous valid value\)")
        shutil.rmtree(node.state)
        node.kill("config")
        node.wait_for_log(r"services/web/frontend: .* \(skipped: no previous valid value\)")
        both.put("services/api/backends/b", {"ipv4": "10.3.0.1", "tcp": 80, "weight": 3})
        node.wait_for_table(WEB + API.replace("-w 10", "-w 3"))
        assert not [line for line in node.operations if " -d " in line or " -D " in line]
        both.put("services/web/frontend", {"ipv4": "10.1.0.1", "tcp": 80, "scheduler": "rr"})
        node.wait_for_table(WEB.replace("wlc", "rr") + API.replace("-w 10", "-w 3"))
        both.remove("services/web")
        node.wait_for_table(API.replace("-w 10", "-w 3"))


@pytest.mark.parametrize("records", ["all", "config.db"])
def test_invalid_values_take_nothing_though_node_and_records_have_gone(node: Node, both: Tree, records: str) -> None:
    node.start()
    node.wait_for_table(WEB + API)
    (both.folder / "services/web/frontend").write_text("{")
    (both.folder / "services/api/backends/b").write_text("{")
    node.wait_for_log(r"services/web/frontend: .* \(keeping the previous valid value\)")
    node.wait_for_log(r"services/api/backends/b: .* \(keeping the previous valid value\)")
    node.crash()
    for file in node.state.glob("*" if records == "all" else "config.db*"):
        shutil.rmtree(file) if file.is_dir() else file.unlink()
    with node:
        node.wait_for_log(r"real servers are not configured, and kept until clusterf config confirm, or until")
        both.put("services/new/frontend", {"ipv4": "10.1.0.3", "tcp": 80})
        new = "-A -t 10.1.0.3:80 -s wlc\n"
        node.wait_for_table(WEB + API + new)
        both.remove("services/new")
        node.wait_for_table(WEB + API)
    with node:
        node.wait_for_log(r"real servers are not configured, and kept until clusterf config confirm, or until")
        both.put("services/api/backends/b", {"ipv4": "10.3.0.1", "tcp": 80, "weight": 3})
        node.wait_for_table(WEB + API.replace("-w 10", "-w 3"))
        node.send(signal.SIGUSR2)
        # (without its record, nothing tells that the other one is ours)
        node.wait_for_table((WEB if records == "all" else "") + API.replace("-w 10", "-w 3"))


@pytest.mark.parametrize("key", ["health", "services/web/health"])
def test_failed_backend_has_no_weight_though_nobody_knows_what_its_invalid_check_was(
    node: Node, tree: Tree, key: str
) -> None:
    with Web(tree) as web:
        web.serve("b1")
        web.put_check()
        web.put_frontend()
        web.put_backends("b1", "b2")
        for file in ("health", "services/web/health"):
            (tree.folder / file).unlink(missing_ok=True)
        tree.put_text(key, '{"type": "tcp", "interval": -1}')
        with node:
            web.wait(node, b1=10, b2=0)
            assert "no previous valid value: checking by the default check, or else by TCP" in node.log
        shutil.rmtree(node.state)
        with node:
            node.wait_for_log(r"web/b1: \S+ is up")
            node.wait_for_log(r"web/b2: \S+ is down")
            assert node.operations == []


def test_value_that_was_never_valid_keeps_nothing(node: Node, both: Tree) -> None:
    both.put_text("services/web/backends/never", "{")
    with node:
        node.wait_for_table(WEB + API)
    both.remove("services/api")
    with node:
        node.wait_for_table(WEB)
    both.put("services/api/frontend", {"ipv4": "10.1.0.2", "tcp": 80})
    both.put("services/api/backends/b", {"ipv4": "10.3.0.1", "tcp": 80})
    with node:
        node.wait_for_table(WEB + API)
        node.kill("director")
        both.remove("services/api")
        node.wait_for_table(WEB)
        assert "kept until" not in node.log


def test_record_that_is_out_of_date_removes_no_foreign_virtual_server(node: Node, both: Tree, disk: Disk) -> None:
    with node:
        remove_api_on_a_full_disk(node, both, disk)
    ipvsadm("-R", stdin=FOREIGN)
    disk.free()
    with node:
        node.wait_for_table(WEB + FOREIGN)
        node.wait_for_log(r"state: .*/ipvs\.db: may be out of date \(ignored\)")
        assert node.operations == []
    both.remove("services/web")
    assert node.once() == 0
    assert saved() == table(FOREIGN), "what was in the table and configured is recorded anew"


def test_verdict_that_is_out_of_date_gives_no_weight_back(node: Node, tree: Tree, disk: Disk) -> None:
    with Web(tree) as web:
        web.serve("b1", "b2")
        web.put_check(interval=4, fast_interval=4)  # a stale verdict would stand for 8 seconds
        web.put_frontend()
        web.put_backends("b1", "b2")
        with node:
            web.wait(node, b1=10, b2=10)
            disk.fill()
            web.stop("b1")
            web.wait(node, b1=0, b2=10)
            # (there may be space for one of the records in a page that it has already)
            node.wait_for_log(r"state: .*/(ipvs|health)\.db: cannot be written")
        disk.free()
        with node:
            web.wait_for_probes(node, 2, "b2")
            assert node.operations == []
            assert web.weights() == {"b1": 0, "b2": 10}
            web.serve("b1")
            web.wait(node, b1=10, b2=10)


def test_state_directory_that_is_renamed_is_made_anew_and_lets_no_second_node_in(
    node: Node, both: Tree, tmp_path: Path
) -> None:
    node.start()
    node.wait_for_table(WEB + API)
    node.state.rename(tmp_path / "renamed")
    (tmp_path / "second").mkdir()
    second = Node(tmp_path / "second", both, flags=["--state-dir", str(node.state)])
    second.start()
    assert second.wait() == 1
    assert "another clusterf-node writes this network namespace's IPVS table: pid " in second.log
    for name in ("ipvs", "config", "health"):
        node.wait_for_log(rf"state: .*/{name}\.db: was removed or replaced: writing all of it again")
    node.crash()
    both.remove("services/api")
    assert node.once() == 0
    assert node.operations == ["ipvsadm -D -t 10.1.0.2:80"]


def test_node_starts_on_a_read_only_disk_and_records_once_it_can(node: Node, both: Tree, disk: Disk) -> None:
    disk.be("ro")
    with node:
        node.wait_for_table(WEB + API)
        assert f"state directory {node.state}: Read-only file system: continuing without records" in node.log
        disk.be("rw")
        node.wait_for_log(r"state: .*/ipvs\.db: written again, nothing is missing")
    both.remove("services/api")
    assert node.once() == 0
    assert node.operations == ["ipvsadm -D -t 10.1.0.2:80"]


def test_read_only_record_is_not_believed_but_the_last_valid_values_are(node: Node, both: Tree, disk: Disk) -> None:
    assert node.once() == 0
    ipvsadm("-D", "-t", "10.1.0.2:80")
    ipvsadm("-R", stdin=FOREIGN)
    both.remove("services/api")
    both.put_text("services/web/backends/b", "{")
    disk.be("ro")
    assert node.once() == 3
    assert node.operations == []
    assert saved() == table(WEB + FOREIGN)
