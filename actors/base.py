"""What every actor of ours has: it answers pings, and its failure is the process's."""

import logging
import threading
from contextlib import suppress
from types import TracebackType
from typing import Any

import pykka

from actors.messages import Ping

__all__ = ["Actor"]

log = logging.getLogger(__name__)


class Actor(pykka.ThreadingActor):
    """An actor that `actors.child` watches over. Its messages come to `receive`."""

    def on_receive(self, message: Any) -> None:
        """Answer a ping at once, hand on everything else."""
        if isinstance(message, Ping):
            message.answer()
        else:
            self.receive(message)

    def tell_later(self, seconds: float, message: Any) -> None:
        """Tell `message` to this actor itself in so many seconds, if it still lives then."""
        timer = threading.Timer(seconds, self._tell_alive, (message,))
        timer.daemon = True
        timer.start()

    def _tell_alive(self, message: Any) -> None:
        with suppress(pykka.ActorDeadError):
            self.actor_ref.tell(message)

    def receive(self, message: Any) -> None:
        """Handle one message."""
        raise NotImplementedError

    def on_failure(
        self,
        exception_type: type[BaseException] | None,
        exception_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Say who failed; pykka has logged the exception, and the child exits."""
        del exception_type, traceback
        log.critical("%s failed: %r", type(self).__name__, exception_value)
