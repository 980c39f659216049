"""Trying the mutants of one module: each in a process forked for it, with the tests that call what was changed.

The tests are imported once, in a process that then forks for each mutant of a
function, so that a mutant costs little more than its tests, those that ended
first on the original first. A mutant of what happens on import (constants,
defaults, fields) is imported by a process of its own.
"""

import os
import pickle
import resource
import shutil
import signal
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import Enum, auto
from pathlib import Path
from types import CodeType
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, Phase, settings

from tests.examples import examples
from tests.mutation.code import (
    ANNOUNCE,
    Function,
    announcing,
    changed_functions,
    import_instead,
    live_functions,
    outermost_functions,
)
from tests.mutation.modules import ROOT, tests_of
from tests.mutation.mutants import Mutant, mutants

__all__ = ["Outcome", "Tried", "try_module"]

OPTIONS = ["-x", "-q", "-s", "-o", "addopts=", "--import-mode=importlib", "-p", "no:cacheprovider", "-p", "no:xdist"]
# hypothesis is imported before pytest runs
OPTIONS += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]
SLOWER, AT_LEAST = 10, 10  # a mutant may take so many times the seconds of its tests, and so many more
MEMORY = 2 << 30  # bytes of address space that a mutant may take beyond what there is
FAILED, BROKEN = 1, 3  # exit statuses of a process: a test failed; the tests cannot run


class Outcome(Enum):
    """What became of a mutant."""

    KILLED = auto()
    TIMED_OUT = auto()
    SURVIVED = auto()


class Tried(NamedTuple):
    """A mutant of a module, and what became of it."""

    mutant: Mutant
    outcome: Outcome


class _Seen(NamedTuple):
    """What a test did on the original: the seconds it took, and the functions that it called."""

    seconds: float
    functions: frozenset[Function]


class _Case(NamedTuple):
    """A mutant, and the new code of its functions; None: it differs on import."""

    number: int
    module: CodeType
    functions: Mapping[Function, CodeType] | None


def try_module(module: str, scratch: Path) -> Iterator[Tried]:
    """Yield each mutant of a module and what became of it. Files are made in the directory `scratch`."""
    path = str(ROOT / module)
    source = Path(path).read_text()
    original = compile(source, path, "exec")
    found = list(mutants(source))
    codes = [compile(mutant.source, path, "exec", dont_inherit=True) for mutant in found]
    every = (_Case(number, code, changed_functions(original, code)) for number, code in enumerate(codes))
    # those that are compiled to what there was are none
    cases = [case for case in every if case.functions != {}]
    session = _Session(path, source, [case for case in cases if case.functions is not None], scratch)
    outcomes = dict(_in_process(lambda send: session.run(tests_of(module), send)))
    for case in cases:
        if case.number not in outcomes:
            outcomes[case.number] = _on_import(module, path, case.module, scratch)
        yield Tried(found[case.number], outcomes[case.number])


def _in_process(work: Callable[[Callable[[object], None]], None]) -> list[Any]:
    """Return what `work` sent from a process of its own."""
    read, write = os.pipe()
    if not (pid := os.fork()):
        status = BROKEN
        try:
            os.close(read)
            with os.fdopen(write, "wb") as pipe:
                work(lambda thing: pickle.dump(thing, pipe))
            status = 0
        except BaseException:  # noqa: BLE001 -- nothing may leave this process but its exit status
            traceback.print_exc()
        finally:
            os._exit(status)
    os.close(write)
    things = []
    with os.fdopen(read, "rb") as pipe:
        while pipe.peek(1):
            things.append(pickle.load(pipe))
    if status := os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]):
        raise RuntimeError(f"the tests do not run on the original: exit status {status}, see the log")
    return things


def _child(work: Callable[[], int], seconds: float, scratch: Path) -> Outcome:
    """Run the tests in a process that has that many seconds."""
    if not (pid := os.fork()):
        status = BROKEN
        try:
            limit = int(seconds) + 1
            resource.setrlimit(resource.RLIMIT_CPU, (limit, limit + 1))
            mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (mapped + MEMORY, mapped + MEMORY))
            status = work()
        finally:
            os._exit(status)
    deadline = time.monotonic() + seconds * 4
    while not (ended := os.waitpid(pid, os.WNOHANG))[0]:
        if time.monotonic() > deadline:
            os.kill(pid, signal.SIGKILL)
            ended = os.waitpid(pid, 0)
            break
        time.sleep(0.002)
    shutil.rmtree(scratch / f"tmp-{pid}", ignore_errors=True)
    status = os.waitstatus_to_exitcode(ended[1])
    if status < 0:
        return Outcome.TIMED_OUT
    return Outcome.KILLED if status else Outcome.SURVIVED


def _on_import(module: str, path: str, code: CodeType, scratch: Path) -> Outcome:
    def work() -> int:
        _silence(os.devnull)
        import_instead(module.removesuffix(".py").replace("/", "."), path, code)
        own = [f"--basetemp={scratch / f'tmp-{os.getpid()}'}"]
        return int(pytest.main([*OPTIONS, *own, *tests_of(module)], plugins=[_Repeatable()]))

    return _child(work, 60, scratch)


def _silence(log: str) -> None:
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)


class _Repeatable:
    """Has hypothesis try the same few examples each time, and look for no smaller ones."""

    def pytest_sessionstart(self) -> None:
        settings.register_profile(
            "mutation",
            deadline=None,
            suppress_health_check=list(HealthCheck),
            max_examples=examples(100),
            derandomize=True,
            database=None,
            phases=[Phase.explicit, Phase.generate],
        )
        settings.load_profile("mutation")


class _Session(_Repeatable):
    """Runs tests on the original, then on each mutant of a function."""

    def __init__(self, path: str, source: str, cases: Sequence[_Case], scratch: Path) -> None:
        self._path, self._source, self._cases, self._scratch = path, source, cases, scratch
        self._functions = list(outermost_functions(compile(source, path, "exec")))
        self._send: Callable[[object], None] = lambda _: None

    def run(self, tests: Sequence[str], send: Callable[[object], None]) -> None:
        """Send the number and the outcome of each mutant; leave out those that no test calls."""
        self._send = send
        _silence(str(self._scratch / "log"))
        own = [f"--basetemp={self._scratch / f'tmp-{os.getpid()}'}"]
        if status := pytest.main([*OPTIONS, *own, *tests], plugins=[self]):
            os._exit(int(status))

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Take the place of running the tests once."""
        if session.testsfailed:
            os._exit(BROKEN)
        items = list(session.items)
        (seen,) = _in_process(lambda send: send(self._watch(session, items)))
        live = live_functions(self._path)
        for case in self._cases:
            changed = case.functions or {}
            chosen = [item for item in items if seen[item.nodeid].functions & set(changed)]
            chosen.sort(key=lambda item: seen[item.nodeid].seconds)
            swaps = [(f, code) for at, code in changed.items() for f in live.get((at.name, at.first_line), ())]
            if chosen and swaps:
                seconds = AT_LEAST + SLOWER * sum(seen[item.nodeid].seconds for item in chosen)
                work = _Work(session, chosen, swaps, self._scratch)
                self._send((case.number, _child(work, seconds, self._scratch)))
        return True

    def _watch(self, session: pytest.Session, items: Sequence[pytest.Item]) -> Mapping[str, _Seen]:
        seen = {}
        lines: set[int] = set()
        live = live_functions(self._path)
        for at, code in announcing(self._source, self._path).items():
            for function in live.get((at.name, at.first_line), ()):
                function.__globals__[ANNOUNCE] = lines.add
                function.__code__ = code
        for item in items:
            lines.clear()
            begin = time.thread_time()
            item.ihook.pytest_runtest_protocol(item=item, nextitem=None)
            functions = frozenset(function for function in self._functions if function.first_line in lines)
            seen[item.nodeid] = _Seen(time.thread_time() - begin, functions)
            if session.testsfailed:
                os._exit(FAILED)
        return seen


class _Work(NamedTuple):
    """What the process of a mutant does."""

    session: pytest.Session
    items: Sequence[pytest.Item]
    swaps: Sequence[tuple[Any, CodeType]]
    scratch: Path

    def __call__(self) -> int:
        factory = self.session.config._tmp_path_factory  # type: ignore[attr-defined]
        factory._basetemp, factory._given_basetemp = None, self.scratch / f"tmp-{os.getpid()}"
        for function, code in self.swaps:
            function.__code__ = code
        for number, item in enumerate(self.items):
            following = self.items[number + 1] if number + 1 < len(self.items) else None
            item.ihook.pytest_runtest_protocol(item=item, nextitem=following)
            if self.session.testsfailed:
                return FAILED
        return 0
