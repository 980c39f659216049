"""Objects that are bad and steps that the kernel refuses: the others go on."""

import subprocess
from collections.abc import Iterator

import pytest

from tests.system.support.node import Node, Tree, ipvsadm, saved, table

pytestmark = pytest.mark.ipvs

WEB = "-A -t 10.1.0.1:80 -s wlc\n-a -t 10.1.0.1:80 -r 10.3.0.1:80 -m -w 10\n"
API = "-A -t 10.1.0.2:80 -s wlc\n-a -t 10.1.0.2:80 -r 10.3.0.1:80 -m -w 10\n"
BACKEND = {"ipv4": "10.3.0.1", "tcp": 80}
REFUSED = "10.66.0.1"


@pytest.fixture
def web(tree: Tree) -> Tree:
    """A configuration with two services."""
    tree.service("web", {"ipv4": "10.1.0.1", "tcp": 80}, b=BACKEND)
    tree.service("api", {"ipv4": "10.1.0.2", "tcp": 80}, b=BACKEND)
    return tree


@pytest.fixture
def refused(namespace: None) -> Iterator[str]:
    """An IPv4 address that the kernel takes for no real server, being one of broadcast."""
    ip_route("add")
    return REFUSED


def ip_route(action: str) -> None:
    route = ["broadcast", REFUSED, "dev", "lo", "table", "local"]
    subprocess.run(["ip", "route", action, *route], check=True)


def test_previous_valid_value_is_kept_also_across_restarts(node: Node, web: Tree) -> None:
    with node:
        node.wait_for_table(WEB + API)
        web.put_text("services/web/backends/b", "{")
        web.put_text("services/web/frontend", '{"ipv4": "10.1.0.300"}')
        node.wait_for_log("keeping the previous valid value", 2)
        web.put("services/api/backends/b", {**BACKEND, "weight": 5})
        node.wait_for_table(WEB + API.replace("-w 10", "-w 5"))

    web.put("services/api/backends/b", BACKEND)
    assert node.once() == 3
    assert node.operations == ["ipvsadm -e -t 10.1.0.2:80 -r 10.3.0.1:80 -m -w 10"]
    assert saved() == table(WEB + API)
    ipvsadm("-C")
    assert node.once() == 3
    assert saved() == table(WEB + API)

    web.put("services/web/backends/b", {**BACKEND, "weight": 7})
    web.put("services/web/frontend", {"ipv4": "10.1.0.1", "tcp": 80})
    assert node.once() == 0
    assert saved() == table(WEB.replace("-w 10", "-w 7") + API)


def test_invalid_value_without_a_previous_one_is_skipped(node: Node, web: Tree) -> None:
    web.put_text("services/web/backends/bad", '{"ipv4": "10.3.0.2", "tcp": 99999}')
    web.put_text("services/bad/frontend", "\0")
    web.put_text("routes/bad", "[]")

    assert node.once() == 3

    assert saved() == table(WEB + API)
    for key in ("services/web/backends/bad", "services/bad/frontend", "routes/bad"):
        assert f"{key}: " in node.log


def test_unknown_field_or_key_is_a_warning(node: Node, web: Tree) -> None:
    web.put("services/web/backends/b", {**BACKEND, "wieght": 5})
    web.put("services/web/extra", {})

    assert node.once() == 0

    assert "services/web/backends/b: wieght: unknown field (ignored)" in node.log
    assert "services/web/extra: unknown key (ignored)" in node.log
    assert saved() == table(WEB + API)


def test_refused_operation_is_reported_and_others_are_applied(node: Node, web: Tree, refused: str) -> None:
    web.put("services/api/backends/refused", {"ipv4": refused, "tcp": 80})

    assert node.once() == 1

    failed = f"-a -t 10.1.0.2:80 -r {refused}:80 -m -w 10"
    assert f"error: ipvs: failed: ipvsadm {failed}: Invalid argument" in node.log
    assert "--once: 1 operations failed" in node.log
    assert f"ipvsadm {failed}" not in node.operations
    assert node.only_table == saved() == table(WEB + API)


def test_refused_operation_is_retried_until_it_succeeds(node: Node, web: Tree, refused: str) -> None:
    web.put("services/api/backends/refused", {"ipv4": refused, "tcp": 80})
    with node:
        node.wait_for_table(WEB + API)
        node.wait_for_log("^error: ipvs: failed: ", 2)
        web.put("services/web/backends/b", {**BACKEND, "weight": 7})
        node.wait_for_table(WEB.replace("-w 10", "-w 7") + API)

        ip_route("del")
        node.wait_for_table(WEB.replace("-w 10", "-w 7") + API + f"-a -t 10.1.0.2:80 -r {refused}:80 -m -w 10")


def test_real_server_is_kept_while_its_replacement_is_refused(node: Node, web: Tree, refused: str) -> None:
    with node:
        node.wait_for_table(WEB + API)
        web.put("services/api/backends/b", {"ipv4": refused, "tcp": 80})
        node.wait_for_log("^error: ipvs: failed: ", 2)
        assert saved() == table(WEB + API)

        ip_route("del")
        node.wait_for_table(WEB + API.replace("10.3.0.1", refused))
