"""Messages that every actor takes: from its child process, and from its own thread or event loop that has failed.

`Ping`, `Reload` and `Confirm` come from the supervisor, and travel over the control socket as they are.
"""

from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

if TYPE_CHECKING:  # the supervisor loads this module, too, and has no actors
    import pykka

__all__ = ["Confirm", "Crashed", "KeepState", "Leave", "Ping", "Reload", "Upstream"]


class Ping(msgspec.Struct, frozen=True, tag=True):
    """To be asked, not told: a reply shows that the actor is not stuck."""


class Reload(msgspec.Struct, frozen=True, tag=True):
    """Read everything again, as the operator has asked for it."""


class Confirm(msgspec.Struct, frozen=True, tag=True):
    """Carry out what is held until the operator confirms it."""


class Leave(NamedTuple):
    """The operator stops the node; the actor is stopped next. Not sent after a failure."""


class KeepState(NamedTuple):
    """An actor's message to itself: write what could not be written to its state file."""


class Upstream(NamedTuple):
    """`actor` sends its messages to the receiver of this one, and receives what flows back."""

    actor: "pykka.ActorRef[Any]"


class Crashed(NamedTuple):
    """The thread or event loop of the actor itself has failed; the actor raises `error`."""

    error: BaseException
