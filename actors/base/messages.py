"""Messages that every actor takes: from its child process, and from its own thread or event loop that has failed."""

from collections.abc import Callable
from typing import NamedTuple

__all__ = ["Confirm", "Crashed", "Leave", "Ping", "Reload"]


class Ping(NamedTuple):
    """Answer, to show that the actor is not stuck."""

    answer: Callable[[], None]


class Reload(NamedTuple):
    """Read all again, as the operator asks for it."""


class Confirm(NamedTuple):
    """Do what is held for the operator to confirm."""


class Leave(NamedTuple):
    """The node is being stopped, and not because of a failure; you are stopped next."""


class Crashed(NamedTuple):
    """The actor's own thread or event loop has failed; the actor raises `error`."""

    error: BaseException
