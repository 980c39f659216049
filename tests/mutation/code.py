"""Putting a mutant in force: in the functions that there are, or as the module is imported."""

import ast
import gc
import importlib.util
import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from inspect import CO_OPTIMIZED
from types import CodeType, FunctionType, ModuleType
from typing import NamedTuple

__all__ = [
    "ANNOUNCE",
    "Function",
    "announcing",
    "changed_functions",
    "import_instead",
    "live_functions",
    "outermost_functions",
]

ANNOUNCE = "_announce_call"  # the global of a module that each of its functions calls with its first line


class Function(NamedTuple):
    """An outermost function of a module: no other contains it; its nested functions are part of it."""

    name: str
    first_line: int
    last_line: int


def _is_function(code: CodeType) -> bool:
    return bool(code.co_flags & CO_OPTIMIZED) and (not code.co_name.startswith("<") or code.co_name == "<lambda>")


def _codes(code: CodeType) -> Iterator[CodeType]:
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            if _is_function(constant):
                yield constant
            else:
                yield from _codes(constant)


def _last_line(code: CodeType) -> int:
    own = max((line for _, _, line in code.co_lines() if line), default=code.co_firstlineno)
    return max([own, *(_last_line(inner) for inner in code.co_consts if isinstance(inner, CodeType))])


def outermost_functions(module: CodeType) -> Mapping[Function, CodeType]:
    """Return the functions of a compiled module, in the order of its source."""
    return {Function(code.co_qualname, code.co_firstlineno, _last_line(code)): code for code in _codes(module)}


def _shape(code: CodeType, within: bool) -> object:
    """Return what a code object does, wherever its lines are; `within`: with the functions in it."""
    constants = [
        (_shape(constant, within) if within or not _is_function(constant) else "function")
        if isinstance(constant, CodeType)
        else (type(constant), repr(constant))
        for constant in code.co_consts
    ]
    return (code.co_code, code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars, code.co_flags, constants)


def changed_functions(original: CodeType, mutant: CodeType) -> Mapping[Function, CodeType] | None:
    """Return the new code of the functions that differ; None if the module differs when it is imported."""
    before, after = outermost_functions(original), list(_codes(mutant))
    if _shape(original, within=False) != _shape(mutant, within=False) or len(before) != len(after):
        return None
    pairs = zip(before.items(), after, strict=True)
    changed = {
        function: (old, new) for (function, old), new in pairs if _shape(old, within=True) != _shape(new, within=True)
    }
    if any(old.co_freevars != new.co_freevars for old, new in changed.values()):
        return None
    return {function: new for function, (_, new) in changed.items()}


class _Announcer(ast.NodeTransformer):
    """Has each outermost function of a module announce that it is called."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        return self._announce(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        return self._announce(node)

    def _announce(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> ast.AST:
        line = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
        call = ast.Call(ast.Name(ANNOUNCE, ast.Load()), [ast.Constant(line)], [])
        node.body.insert(0, ast.Expr(call))
        return node


def announcing(source: str, path: str) -> Mapping[Function, CodeType]:
    """Return code for the functions of a module that first calls `ANNOUNCE` with the function's first line."""
    tree = ast.fix_missing_locations(_Announcer().visit(ast.parse(source)))
    pairs = zip(outermost_functions(compile(source, path, "exec")), _codes(compile(tree, path, "exec")), strict=True)
    return dict(pairs)


def live_functions(path: str) -> Mapping[tuple[str, int], Sequence[FunctionType]]:
    """Return the functions of a file that exist in this process, by name and first line."""
    found: dict[tuple[str, int], list[FunctionType]] = {}
    for thing in gc.get_objects():
        if isinstance(thing, FunctionType) and thing.__code__.co_filename == path:
            code = thing.__code__
            found.setdefault((code.co_qualname, code.co_firstlineno), []).append(thing)
    return found


class _Loader(SourceFileLoader):
    """Has a module's code, and does not read it from a file."""

    def __init__(self, name: str, path: str, code: CodeType) -> None:
        super().__init__(name, path)
        self._code = code

    def get_code(self, fullname: str) -> CodeType:
        return self._code


class _Finder(MetaPathFinder):
    """Finds one module."""

    def __init__(self, name: str, path: str, code: CodeType) -> None:
        self._name, self._path, self._code = name, path, code

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != self._name:
            return None
        return importlib.util.spec_from_file_location(
            fullname, self._path, loader=_Loader(fullname, self._path, self._code)
        )


def import_instead(name: str, path: str, code: CodeType) -> None:
    """Have this process import a module, which it has not imported yet, from its compiled mutant."""
    sys.meta_path.insert(0, _Finder(name, path, code))
