"""What every actor of ours has: it answers pings, and its failure is the process's."""

import logging
import threading
from contextlib import suppress
from types import TracebackType
from typing import Any

import pykka

from actors.base.messages import Confirm, Crashed, Leave, Ping, Reload, Upstream

__all__ = ["Actor"]

log = logging.getLogger(__name__)


class Actor(pykka.ThreadingActor):
    """An actor that `actors.supervision.child` watches over. Its messages come to `receive`."""

    # the actor that sends to this one, once it has introduced itself
    _upstream: pykka.ActorRef[Any] | None = None

    def on_receive(self, message: Any) -> None:
        """Answer a ping at once, hand on everything else."""
        try:
            match message:
                case Ping():
                    pass  # pykka answers who has asked
                case Upstream(actor):
                    self._upstream = actor
                case Reload():
                    self.reload()
                case Confirm():
                    self.confirm()
                case Leave():
                    self.leave()
                case Crashed(error):
                    raise error
                case _:
                    self.receive(message)
        except pykka.ActorDeadError as error:
            # the process is about to end; `actors.supervision.child` has seen it, and why
            log.debug("%s: has nobody to tell: %s", type(self).__name__, error)

    def tell_later(self, seconds: float, message: Any) -> None:
        """Tell `message` to this actor itself in so many seconds, if it still lives then."""
        timer = threading.Timer(seconds, self._tell_alive, (message,))
        timer.daemon = True
        timer.start()

    def tell_upstream(self, message: Any) -> None:
        """Tell `message` to the actor that sends to this one, if there is one and it still lives."""
        if self._upstream is not None:
            with suppress(pykka.ActorDeadError):
                self._upstream.tell(message)

    def _tell_alive(self, message: Any) -> None:
        with suppress(pykka.ActorDeadError):
            self.actor_ref.tell(message)

    def receive(self, message: Any) -> None:
        """Handle any other message."""
        raise TypeError(f"{type(self).__name__} does not handle {message!r}")

    def reload(self) -> None:
        """Read again what this actor reads from elsewhere, if there is such a thing."""

    def confirm(self) -> None:
        """Do what is held for the operator to confirm, if there is such a thing."""

    def leave(self) -> None:
        """Do what is to be done when the operator stops the node, if there is such a thing."""

    def on_failure(
        self,
        exception_type: type[BaseException] | None,
        exception_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Say who failed; pykka has logged the exception, and the child exits."""
        del exception_type, traceback
        log.critical("%s failed: %r", type(self).__name__, exception_value)
