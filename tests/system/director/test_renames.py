"""Names, routes and processes change, and no working real server loses its weight, with the health process hung."""

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.system.support.node import Node, Tree, saved
from tests.system.support.web import Web, mark

pytestmark = pytest.mark.ipvs


@pytest.fixture
def node(namespace: None, tmp_path: Path, tree: Tree) -> Node:
    """A node that does not restart a health process that hangs."""
    return Node(tmp_path, tree, flags=["--stuck-timeout", "600"])


@pytest.fixture
def web(node: Node, tree: Tree) -> Iterator[Web]:
    """A service with two backends that are up."""
    with Web(tree) as web:
        web.serve("b1", "b2")
        web.put_check()
        web.put_frontend()
        web.put_backends("b1", "b2")
        yield web


def hang_health(node: Node, web: Web) -> None:
    """Have no more verdicts once both backends are up."""
    web.wait(node, b1=10, b2=10)
    web.wait_for_probes(node, 3)
    node.kill("health", number=signal.SIGSTOP)
    node.forget()


def rename_service(web: Web, tree: Tree) -> None:
    (tree.folder / "services/web").rename(tree.folder / "services/web2")


def rename_to_a_lower_name(web: Web, tree: Tree) -> None:
    (tree.folder / "services/web").rename(tree.folder / "services/a")


def rename_backends(web: Web, tree: Tree) -> None:
    for name in ("b1", "b2"):
        (tree.folder / f"services/web/backends/{name}").rename(tree.folder / f"services/web/backends/new-{name}")


def write_the_new_name_before_the_old_one_is_deleted(web: Web, tree: Tree) -> None:
    renamed = Web(tree, name="web2")
    renamed.put_check()
    renamed.put_backends("b1", "b2")
    renamed.put_frontend()
    tree.remove("services/web")


@pytest.mark.parametrize(
    "change",
    [rename_service, rename_to_a_lower_name, rename_backends, write_the_new_name_before_the_old_one_is_deleted],
)
def test_renames_write_nothing(node: Node, tree: Tree, web: Web, change: Callable[[Web, Tree], None]) -> None:
    with node:
        hang_health(node, web)
        change(web, tree)
        mark(node, tree)
        node.wait_for(lambda: tree_is_settled(node, tree))
        assert [line for line in node.operations if web.vip in line] == []
        node.kill("health", number=signal.SIGCONT)


def tree_is_settled(node: Node, tree: Tree) -> bool:
    """Tell whether a deletion that is made after the change has come to the kernel."""
    marked = max((tree.folder / "services").glob("mark*"), key=lambda path: path.name, default=None)
    if marked is not None:
        tree.remove(f"services/{marked.name}")
    return not [line for line in saved() if "10.107.9." in line]


def test_route_and_checked_port_that_change_together_move_the_weight(node: Node, tree: Tree, web: Web) -> None:
    route = {"prefix": "127.1.0.0/16", "ipvsmethod": "masq"}
    tree.put("routes/r", {**route, "gateway": "127.9.0.1"})
    with node:
        node.wait_for(lambda: f"-a {web.virtual} -r 127.9.0.1:80 -m -w 20" in saved())
        web.wait_for_probes(node, 3)
        node.kill("health", number=signal.SIGSTOP)
        node.forget()
        web.put_check(port=9999)
        tree.put("routes/r", {**route, "gateway": "127.9.0.2"})
        node.wait_for(lambda: len(node.operations) >= 2)
        assert node.operations == [
            f"ipvsadm -a {web.virtual} -r 127.9.0.2:80 -m -w 20",
            f"ipvsadm -d {web.virtual} -r 127.9.0.1:80",
        ]
        node.kill("health", number=signal.SIGCONT)


def test_replaced_backends_stay_until_the_new_ones_are_up(node: Node, tree: Tree, web: Web) -> None:
    with node:
        hang_health(node, web)
        web.serve("b3", "b4")
        web.put_backends("b3", "b4")
        for name in ("b1", "b2"):
            tree.remove(f"services/web/backends/{name}")
        web.wait(node, b1=10, b2=10, b3=0, b4=0)
        mark(node, tree)
        assert web.weights() == {"b1": 10, "b2": 10, "b3": 0, "b4": 0}
        node.kill("health", number=signal.SIGCONT)
        web.wait(node, b3=10, b4=10)
        changes = [line for line in node.operations if web.vip in line]
        # (until one of the new ones has weight, none of the old ones loses it)
        assert changes[:2] == [web.operation("-a", "b3", 0), web.operation("-a", "b4", 0)]
        assert changes.index(web.operation("-e", "b3", 10)) < min(
            place for place, line in enumerate(changes) if " -d " in line or "b1" in line
        )


def test_all_backends_deleted_without_new_ones_are_removed_at_once(node: Node, tree: Tree, web: Web) -> None:
    with node:
        hang_health(node, web)
        tree.remove("services/web/backends")
        node.wait_for(lambda: web.weights() == {})
        node.kill("health", number=signal.SIGCONT)


def test_keys_put_back_after_a_crash_during_a_hold_write_nothing(
    namespace: None, tmp_path: Path, tree: Tree, web: Web
) -> None:
    node = Node(tmp_path, tree, flags=["--stuck-timeout", "600", "--hold-least", "1", "--removal-hold", "600"])
    (aside := tmp_path / "aside").mkdir()
    tree.service("other", {"ipv4": "10.107.8.1", "tcp": 80})
    with node:
        web.wait(node, b1=10, b2=10)
        web.wait_for_probes(node, 3)
        for name in ("web", "other"):
            (tree.folder / "services" / name).rename(aside / name)
        node.wait_for_log("would be removed at once: held for 600 seconds")
        for server in web.servers.values():
            server.behaviour = silent
        node.forget()
        node.kill("director", "health")
        node.wait_for_log(r"removals are held for \d+ more seconds, .* as before the start")
        for name in ("web", "other"):
            (aside / name).rename(tree.folder / "services" / name)
        node.wait_for_log("removals are no longer held")
        mark(node, tree)
        assert [line for line in node.operations if web.vip in line] == []
        assert web.weights() == {"b1": 10, "b2": 10}


def silent(connection: object) -> None:
    """Answer nothing and close: a failed probe, which is no verdict before there are three."""
