"""Messages that every actor takes: from its child process, and from its own thread or event loop that has failed.

`Ping`, `Reload` and `Confirm` come from the supervisor, and travel over the control socket as they are.
"""

from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

if TYPE_CHECKING:  # the supervisor loads this module, too, and has no actors
    import pykka

__all__ = ["Confirm", "Crashed", "Leave", "Ping", "Reload", "Upstream"]


class Ping(msgspec.Struct, frozen=True, tag=True):
    """Asked, not told: that there is a reply shows that the actor is not stuck."""


class Reload(msgspec.Struct, frozen=True, tag=True):
    """Read everything again, as the operator has asked for it."""


class Confirm(msgspec.Struct, frozen=True, tag=True):
    """Carry out what is held until the operator confirms it."""


class Leave(NamedTuple):
    """The node is being stopped, and not because of a failure; you are stopped next."""


class Upstream(NamedTuple):
    """`actor` sends to this one from now on, and takes what flows back."""

    actor: "pykka.ActorRef[Any]"


class Crashed(NamedTuple):
    """The actor's own thread or event loop has failed; the actor raises `error`."""

    error: BaseException
