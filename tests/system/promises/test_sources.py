"""Two sources in 50 combinations of what each has of a service, and what becomes of it."""

from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.system.support.netns import network_namespace
from tests.system.support.node import Node, Tree

pytestmark = pytest.mark.ipvs

GOOD = {"one": {"ipv4": "10.3.0.1", "tcp": 80, "weight": 1}, "two": {"ipv4": "10.3.0.2", "tcp": 80, "weight": 2}}
INVALID = {"bad": '{"ipv4": "nowhere"}', "garbage": "{", "empty": ""}
KINDS = ("absent", "good", *INVALID)


class Case(NamedTuple):
    """What the two sources have at first, and what the later one has then."""

    number: int
    before: tuple[str, str]
    then: str

    @property
    def service(self) -> str:
        """The name of its service."""
        return f"s{self.number:02}"

    def expected(self, states: Sequence[tuple[str, str]]) -> list[str]:
        """Return the table after the sources had these states, one after the other."""
        values = [last_good([state[source] for state in states]) for source in (0, 1)]
        found = next((source for source in (1, 0) if values[source]), None)
        lines = [f"-A -t 10.107.0.{self.number}:80 -s wlc"]
        if found is not None:
            lines += [f"-a -t 10.107.0.{self.number}:80 -r 10.3.0.{found + 1}:80 -m -w {found + 1}"]
        return lines


CASES = [
    Case(number, (one, two), then)
    for number, ((one, two), then) in enumerate(product(product(KINDS, KINDS), ("absent", "bad")), start=1)
]


def last_good(kinds: Sequence[str]) -> bool:
    """Tell whether a source has a value in force, after each of these in turn."""
    good = False
    for kind in kinds:
        good = kind == "good" or (good and kind != "absent")
    return good


def put(tree: Tree, service: str, kind: str, name: str) -> None:
    """Have a tree hold that of a service's backend."""
    path = f"services/{service}/backends/b"
    if kind == "good":
        tree.put(path, GOOD[name])
    elif kind != "absent":
        tree.put_text(path, INVALID[kind])
    elif (tree.folder / path).exists():
        tree.remove(path)


def test_object_of_the_last_source_that_has_a_valid_one_is_in_force(tmp_path: Path) -> None:
    assert len(CASES) == 50
    one, two = trees = Tree(tmp_path / "one"), Tree(tmp_path / "two")
    for tree in trees:
        tree.clear()
    for case in CASES:
        one.put(f"services/{case.service}/frontend", {"ipv4": f"10.107.0.{case.number}", "tcp": 80})
        put(one, case.service, case.before[0], "one")
        put(two, case.service, case.before[1], "two")

    with network_namespace(), Node(tmp_path, one, two) as node:
        node.wait_for_table([line for case in CASES for line in case.expected([case.before])])
        for case in CASES:
            put(two, case.service, case.then, "two")
        after = [line for case in CASES for line in case.expected([case.before, (case.before[0], case.then)])]
        node.wait_for_table(after)

        assert node.stop() == 0
        node.start()
        node.wait_for_table(after)
        assert node.operations == []
