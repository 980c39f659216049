"""Which lines of some modules an input reaches, and in which order: what tells a new input from a known one."""

import importlib
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

__all__ = ["Coverage", "lines_of"]


class Coverage:
    """The steps from one line of the modules to the next, as `(file, from, to)`, all that were ever taken."""

    def __init__(self, modules: Iterable[str]) -> None:
        self._files = {importlib.import_module(name).__file__ for name in modules}
        self.steps: set[tuple[str, int, int]] = set()

    @property
    def lines(self) -> set[tuple[str, int]]:
        """The lines that were reached, by file."""
        return {(file, line) for file, _, line in self.steps}

    @contextmanager
    def measured(self) -> Iterator[None]:
        """Note what this thread reaches meanwhile."""
        before = sys.gettrace()
        sys.settrace(self._called)
        try:
            yield
        finally:
            sys.settrace(before)

    def _called(self, frame: FrameType, _: str, __: Any) -> Callable[..., Any] | None:
        file = frame.f_code.co_filename
        if file not in self._files:
            return None
        last, add = -1, self.steps.add

        def step(frame: FrameType, event: str, _: Any) -> Any:
            nonlocal last
            if event == "line":
                line = frame.f_lineno
                add((file, last, line))
                last = line
            return step

        return step


def lines_of(module: str) -> set[tuple[str, int]]:
    """Return the lines in the functions of a module."""
    file = importlib.import_module(module).__file__
    assert file is not None
    code = compile(Path(file).read_bytes(), file, "exec")
    return {(file, line) for function in _functions(code) for line in _lines(function)}


def _functions(code: CodeType, *, inside: bool = False) -> Iterator[CodeType]:
    """Yield the code of functions, without that of modules and classes, which runs at the import."""
    if inside and code.co_flags & 0x2:  # CO_NEWLOCALS, which classes lack
        yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _functions(constant, inside=True)


def _lines(code: CodeType) -> Iterator[int]:
    return (line for _, _, line in code.co_lines() if line is not None and line != code.co_firstlineno)
