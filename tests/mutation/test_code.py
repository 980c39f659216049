"""A mutant takes the place of the functions that there are, or is what a module is imported from."""

import importlib
import sys

import pytest

from tests.mutation.code import (
    ANNOUNCE,
    announcing,
    changed_functions,
    import_instead,
    live_functions,
    outermost_functions,
)

SOURCE = """
LIMIT = 3

class Counter:
    step = 1

    @property
    def limit(self):
        return LIMIT

    def count(self, n, by=1):
        def twice():
            return 2 * n
        return twice() + by
"""
PATH = "/nowhere/counting.py"


def compiled(old="", new=""):
    return compile(SOURCE.replace(old, new), PATH, "exec")


@pytest.fixture
def counter():
    scope = {"__name__": "counting"}
    exec(compiled(), scope)
    return scope["Counter"]


@pytest.mark.parametrize(("old", "new", "name"), [("2 * n", "3 * n", "count"), ("return LIMIT", "return 0", "limit")])
def test_a_change_in_a_function_is_one_of_that_function(old, new, name):
    (changed,) = changed_functions(compiled(), compiled(old, new))
    assert changed.name == f"Counter.{name}"


@pytest.mark.parametrize(
    ("old", "new"), [("= 3", "= 4"), ("by=1", "by=2"), ("step = 1", "step = 0"), ("@property\n", "\n")]
)
def test_a_change_of_what_happens_on_import_is_one_of_no_function(old, new):
    assert changed_functions(compiled(), compiled(old, new)) is None


def test_what_only_moves_does_not_differ():
    assert changed_functions(compiled(), compiled("        return twice", "\n\n        return twice")) == {}


def test_functions_that_there_are_get_the_code_of_the_mutant(counter):
    bound = counter().count
    for at, code in changed_functions(compiled(), compiled("2 * n", "3 * n")).items():
        for function in live_functions(PATH)[at.name, at.first_line]:
            function.__code__ = code
    assert bound(5) == 16


def test_functions_announce_that_they_are_called(counter):
    lines = []
    for at, code in announcing(SOURCE, PATH).items():
        for function in live_functions(PATH)[at.name, at.first_line]:
            function.__globals__[ANNOUNCE] = lines.append
            function.__code__ = code
    assert counter().count(2) == 5
    assert counter().limit == 3
    assert lines == [function.first_line for function in reversed(outermost_functions(compiled()))]


def test_a_module_is_imported_from_its_mutant(monkeypatch):
    monkeypatch.setattr(sys, "meta_path", sys.meta_path[:])
    monkeypatch.setattr(sys, "modules", dict(sys.modules))
    import_instead("counting", PATH, compiled("= 3", "= 4"))
    assert importlib.import_module("counting").Counter().limit == 4
