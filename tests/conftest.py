"""Rules for every test: which are fast, where the kernel's table may be written, and that CI skips nothing."""

import logging
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests import shares
from tests.examples import examples

TESTS = Path(__file__).parent
# tests of whole nodes, and measurements; all others are fast, unless they are marked otherwise
WITH_PROCESSES = {"bench", "system"}
NOT_FAST = ("ipvs", "long", "process")
# a fast test is running, so no process may be started
_only_here = False


def is_fast(item: pytest.Item) -> bool:
    folder = item.path.relative_to(TESTS).parts[0]
    return folder not in WITH_PROCESSES and not any(item.get_closest_marker(name) for name in NOT_FAST)


def pytest_itemcollected(item: pytest.Item) -> None:
    if is_fast(item):
        item.add_marker("fast")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item], config: pytest.Config) -> None:
    own = shares.own_share(items, key=lambda item: item.path)
    kept = set(own)
    config.hook.pytest_deselected(items=[item for item in items if item not in kept])
    items[:] = own
    items.sort(key=lambda item: item.get_closest_marker("first") is None)


def _refuse_processes(event: str, arguments: tuple[object, ...]) -> None:
    if _only_here and event in {"subprocess.Popen", "os.posix_spawn", "os.fork", "os.forkpty", "os.system"}:
        pytest.fail(f"this test starts a process ({event}: {arguments[0] if arguments else ''}): mark it `process`")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Hold fast tests to it: they start no process."""
    global _only_here  # noqa: PLW0603 -- a hook of the interpreter cannot be removed, so it is told when it counts
    _only_here = item.get_closest_marker("fast") is not None
    try:
        return (yield)
    finally:
        _only_here = False


def kernel_is_ours() -> bool:
    """Tell whether tests may write this kernel's IPVS table: never the one of a machine that is in use."""
    given = "CLUSTERF_LAB_GUEST" in os.environ or os.environ.get("CLUSTERF_TEST_HOST_KERNEL") == "1"
    return given and os.geteuid() == 0 and Path("/proc/net/ip_vs").exists()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("ipvs") and not kernel_is_ours():
        pytest.fail("this test writes IPVS tables: run it with `make test`, which boots a kernel for it", pytrace=False)


def pytest_configure() -> None:
    sys.addaudithook(_refuse_processes)
    # else each node that a test starts would compile all its modules, which in a guest takes seconds
    sys.dont_write_bytecode = False
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    # a shell ignores SIGINT for what it runs in the background, and processes that tests start would inherit that
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # a busy machine is no failure
    patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=examples(100))
    settings.register_profile("clusterf", patient)
    settings.load_profile("clusterf")


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    """Undo what a command that runs in this process sets up."""
    root = logging.getLogger()
    level, handlers = root.level, root.handlers[:]
    yield
    root.setLevel(level)
    root.handlers[:] = handlers


def skipped_on_ci(config: pytest.Config) -> int:
    if os.environ.get("CI") != "true":
        return 0
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    return len(reporter.stats.get("skipped", ())) if reporter else 0


def pytest_sessionfinish(session: pytest.Session) -> None:
    if skipped_on_ci(session.config) and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if skipped := skipped_on_ci(config):
        terminalreporter.write_line(f"CI: {skipped} skipped, and nothing may be skipped here: failed", red=True)
