"""`clusterf-node` in the process of the test, up to where the supervisor would run."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from click.testing import CliRunner

from actors import main as main_module
from actors.supervision.privileges import Identities

__all__ = ["invoke", "settings_of"]


class _Supervisor:
    """Stands for the supervisor: keeps the settings that it is given."""

    settings = None

    def __init__(self, names, settings, policy, *, launch, links, upkeep, policies, dispensable):
        type(self).settings = settings

    def run(self):
        return 0


def invoke(monkeypatch, *flags, **environment):
    """Return click's result and the settings of the node, None if it was refused."""
    monkeypatch.setattr(main_module, "Supervisor", _Supervisor)
    monkeypatch.setattr(main_module, "choose_identities", lambda *_, **__: Identities())
    monkeypatch.setattr(main_module.setproctitle, "setproctitle", lambda title: None)
    _Supervisor.settings = None
    with _root_logger():
        result = CliRunner().invoke(main_module.main, list(map(str, flags)), env=environment)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
    return result, _Supervisor.settings


def settings_of(monkeypatch, *flags, **environment):
    """Return the settings that the flags and the environment make."""
    result, settings = invoke(monkeypatch, *flags, **environment)
    assert result.exit_code == 0, result.output
    return settings


@contextmanager
def _root_logger() -> Iterator[None]:
    root = logging.getLogger()
    level, handlers = root.level, list(root.handlers)
    try:
        yield
    finally:
        root.handlers = handlers
        root.setLevel(level)
