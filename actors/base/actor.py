"""The base of all actors: it answers pings, and its failure is that of the process."""

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
    """An actor under the watch of `actors.supervision.child`. Subclasses handle their messages in `receive`."""

    # the actor whose messages this one receives, once it has introduced itself
    _upstream: pykka.ActorRef[Any] | None = None

    def on_receive(self, message: Any) -> None:
        """Handle the messages of every actor, and pass all others to `receive`."""
        try:
            match message:
                case Ping():
                    pass  # returning is the answer: a ping is asked
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
            # the process is about to end, as `actors.supervision.child` watches the receiver, too
            log.debug("%s: message dropped: %s", type(self).__name__, error)

    def tell_later(self, seconds: float, message: Any) -> None:
        """Tell `message` to this actor in `seconds`, if it is still alive then."""
        timer = threading.Timer(seconds, self._tell_alive, (message,))
        timer.daemon = True
        timer.start()

    def tell_upstream(self, message: Any) -> None:
        """Tell `message` to the actor whose messages this one receives; nothing is done if that has stopped."""
        if self._upstream is not None:
            with suppress(pykka.ActorDeadError):
                self._upstream.tell(message)

    def _tell_alive(self, message: Any) -> None:
        with suppress(pykka.ActorDeadError):
            self.actor_ref.tell(message)

    def receive(self, message: Any) -> None:
        """Handle a message of this actor."""
        raise TypeError(f"{type(self).__name__} does not handle {message!r}")

    def reload(self) -> None:
        """Read again what this actor reads from outside the process; by default nothing."""

    def confirm(self) -> None:
        """Carry out what is held until the operator confirms it; by default nothing."""

    def leave(self) -> None:
        """Prepare for the stop of the node by the operator; by default nothing."""

    def on_failure(
        self,
        exception_type: type[BaseException] | None,
        exception_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Log which actor failed; pykka has logged the traceback, and the child process exits."""
        del exception_type, traceback
        log.critical("%s failed: %r", type(self).__name__, exception_value)
