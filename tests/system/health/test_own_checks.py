"""Backends with checks of their own: a real node, a real kernel, servers that answer some paths and others not."""

from collections.abc import Iterator

import pytest

from tests.servers import answer
from tests.system.support.node import Node, Tree
from tests.system.support.web import QUICK, Web

pytestmark = pytest.mark.ipvs


@pytest.fixture
def web(live: tuple[Node, Tree]) -> Iterator[Web]:
    node, tree = live
    with Web(tree, name="own", number=7) as web:
        web.serve("b1", "b2")
        web.serve("b3", behaviour=answer(503))
        yield web
    tree.clear()
    node.wait_for_table([])


def test_check_of_a_label_that_nobody_passes_takes_weight_from_its_own_backend_only(
    live: tuple[Node, Tree], web: Web
) -> None:
    node, _ = live
    web.put_frontend()
    web.put_backends("b1", "b2")
    web.wait(node, b1=10, b2=10)
    web.put_backends("b2", health={**QUICK, "port": 9, "from": "label"})
    web.wait(node, b1=10, b2=0)
    node.wait_for_log(r"own/b2: \S+:9 is down: refused")
    # the operator's check counts for all of them, and his check of one backend for that one
    web.put_check()
    web.wait(node, b1=10, b2=10)
    web.put_backends("b3", health={"type": "tcp", "interval": 0.4})
    web.wait(node, b1=10, b2=10, b3=10)
    web.put_backends("b3")
    web.wait(node, b1=10, b2=10, b3=0)


def test_label_check_that_moves_from_the_service_to_its_backends_writes_nothing(
    live: tuple[Node, Tree], web: Web
) -> None:
    node, tree = live
    web.put_check()
    web.put_frontend()
    web.put_backends("b1", "b3")
    web.wait(node, b1=10, b3=0)
    node.forget()
    web.put_backends("b1", "b3", health={**QUICK, "from": "label"})
    tree.remove(f"services/{web.name}/health")
    web.wait_for_probes(node, 5, "b1", "b3")
    assert node.operations == []
    web.put_backends("b3")
    web.wait(node, b1=10, b3=10)
    assert node.operations == [web.operation("-e", "b3", 10)]


def test_backend_of_which_only_the_check_is_invalid_is_checked_by_tcp(live: tuple[Node, Tree], web: Web) -> None:
    node, _ = live
    web.put_frontend()
    web.put_backends("b1", "b4", health={"type": "carrier pigeon"})
    node.wait_for_log(r"services/own/backends/b4: health\.type: .* \(no previous valid value: checking as its service")
    node.wait_for_log(r"own/b4: \S+ is down: refused")
    web.wait(node, b1=10, b4=0)
