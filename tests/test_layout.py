"""The layout of the code: packages of a size to be read, and a test module for every module."""

from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LARGEST = 18  # modules of a package, `__init__.py` included
TOP = {"clusterf": {"__init__", "__main__"}, "actors": {"__init__", "entry", "main", "node", "settings"}}
# Values, texts and wiring without a decision of their own: the tests of what uses them are theirs, too.
WITHOUT_TESTS = {
    "clusterf/doctor/model.py",
    "clusterf/sources/doubt.py",
    "actors/base/messages.py",
    "actors/base/process.py",
    "actors/config/messages.py",
    "actors/director/messages.py",
}


def modules() -> Iterator[Path]:
    """Yield the path of every module, below the root of the project."""
    for top in TOP:
        yield from (path.relative_to(ROOT) for path in sorted((ROOT / top).rglob("*.py")))


@pytest.mark.parametrize("top", TOP)
def test_top_level_has_packages_only_and_the_entry_points(top):
    assert {path.stem for path in (ROOT / top).glob("*.py")} <= TOP[top]


def test_no_package_is_too_large_to_be_read():
    packages = {path.parent for path in modules()}
    assert {str(p): n for p in packages if (n := len(list((ROOT / p).glob("*.py")))) > LARGEST} == {}


def test_every_module_has_a_test_module_of_its_name():
    missing = {
        str(path)
        for path in modules()
        if path.stem != "__init__" and not list((ROOT / "tests" / path.parent).glob(f"test_{path.stem}*.py"))
    }
    assert missing == WITHOUT_TESTS & missing
    assert {path for path in WITHOUT_TESTS if not (ROOT / path).exists()} == set()
