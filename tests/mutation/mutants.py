"""Mutants of a module: its source with one thing changed that a test should notice.

The operators are those of mutmut, and three more: a call that is left out, a
condition that is negated, and a result that is not returned. Left alone is what
cannot change behaviour: annotations, docstrings, what is logged, the texts of
exceptions, `__all__`, `__slots__`, decorators, and aliases of types.
"""

import difflib
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import libcst as cst
import libcst.matchers as m
from libcst.metadata import MetadataWrapper, PositionProvider
from mutmut.mutation.mutators import mutation_operators, operator_string

__all__ = ["Mutant", "mutants"]

LOG = m.Call(func=m.Attribute(value=m.Name("log") | m.Name("logging")))
TYPES = m.Name("TypeVar") | m.Name("NewType") | m.Name("cast")
# of classes: how a value is kept in memory, and that nobody may change it
KEEPING = m.Name("frozen") | m.Name("gc") | m.Name("array_like") | m.Name("slots") | m.Name("cache_hash")
NOTHING = m.Name("None") | m.Name("False")  # one in place of the other is no difference to who asks whether
NAMES = m.Name("__all__") | m.Name("__slots__")
LEFT_ALONE = (
    m.Annotation()
    | m.Decorator()
    | m.Import()
    | m.ImportFrom()
    | m.Raise()
    # an ordered set is a dictionary of None
    | m.Assign(targets=[m.AssignTarget(target=m.Subscript())], value=m.Name("None"))
    | m.Arg(keyword=KEEPING)
    | LOG
    | m.Call(func=TYPES)
    | m.Assign(targets=[m.AssignTarget(target=NAMES)])
    | m.Assign(targets=[m.AssignTarget(target=m.Name(m.MatchRegex("_?[A-Z][a-z].*")))])
)


class Mutant(NamedTuple):
    """A changed source, the number of the line that changed, and what changed in it."""

    source: str
    line: int
    change: str


def mutants(source: str) -> Iterator[Mutant]:
    """Yield every mutant of a module, in the order of its source."""
    wrapper = MetadataWrapper(cst.parse_module(source), unsafe_skip_copy=True)
    visitor = _Visitor()
    wrapper.visit(visitor)
    seen = {source}
    for line, node, replacement in visitor.found:
        changed = wrapper.module.deep_replace(node, replacement)
        code = changed.code if isinstance(changed, cst.Module) else source
        if code not in seen:
            seen.add(code)
            yield Mutant(code, line, _change(source, code))


def _change(source: str, code: str) -> str:
    lines = list(difflib.unified_diff(source.splitlines(), code.splitlines(), n=0, lineterm=""))[3:]
    old = " ".join(line[1:].strip() for line in lines if line.startswith("-"))
    new = " ".join(line[1:].strip() for line in lines if line.startswith("+"))
    return f"{old}  ->  {new}"


class _Visitor(cst.CSTVisitor):
    """Collects what can be changed: the line, the node, and what to put in its place."""

    METADATA_DEPENDENCIES = (PositionProvider,)

    def __init__(self) -> None:
        self.found: list[tuple[int, cst.CSTNode, cst.CSTNode]] = []

    def on_visit(self, node: cst.CSTNode) -> bool:
        if self._is_left_alone(node):
            return False
        line = self.get_metadata(PositionProvider, node, None)
        self.found += [(line.start.line if line else 0, node, replacement) for replacement in _replacements(node)]
        return True

    def _is_left_alone(self, node: cst.CSTNode) -> bool:
        if isinstance(node, cst.Assert):
            return True
        if isinstance(node, cst.Expr) and isinstance(node.value, cst.SimpleString | cst.ConcatenatedString):
            return True
        if isinstance(node, cst.If) and m.matches(node.test, m.Name("TYPE_CHECKING")):
            return True
        return m.matches(node, LEFT_ALONE)


def _replacements(node: cst.CSTNode) -> Iterator[cst.CSTNode]:
    if isinstance(node, cst.Assign | cst.AnnAssign) and node.value and m.matches(node.value, m.Name("False")):
        return
    for kind, operator in mutation_operators:
        if isinstance(node, kind):
            made: Iterable[cst.CSTNode] = operator(node)
            # a text in other letters is one more change of the same text
            yield from list(made)[:1] if operator is operator_string else made
    if isinstance(node, cst.Expr) and isinstance(node.value, cst.Call):
        yield cst.Pass()
    if isinstance(node, cst.Return) and node.value and not m.matches(node.value, NOTHING):
        yield node.with_changes(value=cst.Name("None"), whitespace_after_return=cst.SimpleWhitespace(" "))
    if isinstance(node, cst.If | cst.While | cst.CompIf):
        yield node.with_changes(test=_negated(node.test))


def _negated(test: cst.BaseExpression) -> cst.BaseExpression:
    inner = test.with_changes(lpar=[*test.lpar, cst.LeftParen()], rpar=[*test.rpar, cst.RightParen()])
    return cst.UnaryOperation(cst.Not(), inner)
