"""What holds for every test: where the kernel's table may be touched, and that CI skips nothing."""

import logging
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings


def kernel_is_ours() -> bool:
    """Tell whether tests may write this kernel's IPVS table: never the one of a machine that is in use."""
    given = "CLUSTERF_LAB_GUEST" in os.environ or os.environ.get("CLUSTERF_TEST_HOST_KERNEL") == "1"
    return given and os.geteuid() == 0 and Path("/proc/net/ip_vs").exists()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("ipvs") and not kernel_is_ours():
        pytest.fail("this test writes IPVS tables: run it with `make test`, which boots a kernel for it", pytrace=False)


def pytest_configure() -> None:
    # who runs the tests in the background may have had SIGINT ignored, and what tests start would inherit that
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # a busy machine is no failure
    settings.register_profile("clusterf", deadline=None, suppress_health_check=[HealthCheck.too_slow])
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
