"""Messages that every actor takes: from its child process, and from its own thread or event loop that has failed."""

from typing import Any, NamedTuple

import pykka

__all__ = ["Confirm", "Crashed", "Leave", "Ping", "Reload", "Upstream"]


class Ping(NamedTuple):
    """Asked, not told: that there is an answer shows that the actor is not stuck."""


class Reload(NamedTuple):
    """Read all again, as the operator asks for it."""


class Confirm(NamedTuple):
    """Do what is held for the operator to confirm."""


class Leave(NamedTuple):
    """The node is being stopped, and not because of a failure; you are stopped next."""


class Upstream(NamedTuple):
    """`actor` sends to this one from now on, and takes what flows back."""

    actor: pykka.ActorRef[Any]


class Crashed(NamedTuple):
    """The actor's own thread or event loop has failed; the actor raises `error`."""

    error: BaseException
