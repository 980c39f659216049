"""An actor whose thread runs an event loop while it waits for messages.

So callbacks of the event loop and messages are handled in one thread, one at a
time, and a ping is answered by the thread that does the work. pykka's own loop
is unchanged: only where it waits for the next message, the event loop runs until
there is one.
"""

import asyncio
import logging
import threading
from collections import deque
from types import TracebackType
from typing import Any

from actors.base.actor import Actor
from actors.base.messages import Crashed

__all__ = ["AsyncioActor", "Inbox"]

log = logging.getLogger(__name__)

CANCEL_TIMEOUT = 1.0  # seconds that cancelled tasks have to end
# keys in the context of a loop's exception handler for a failed callback, or a failed task that nobody awaits
_FAILED = frozenset({"handle", "future"})


class Inbox:
    """An actor's inbox, for pykka: `get` runs the event loop until there is a message."""

    def __init__(self) -> None:
        self._envelopes: deque[Any] = deque()
        self._loop: asyncio.AbstractEventLoop | None = None
        # held so that the loop is not closed while another thread wakes it
        self._lock = threading.Lock()

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        """Run `loop` from now on, in the thread that calls `get`."""
        with self._lock:
            self._loop = loop

    def detach(self) -> None:
        """Stop running the loop; no thread calls it after this."""
        with self._lock:
            self._loop = None

    def put(self, envelope: Any, /) -> None:
        """Add a message, from any thread."""
        self._envelopes.append(envelope)
        with self._lock:
            if self._loop is not None:
                # a loop that is not running yet stops as soon as it runs
                self._loop.call_soon_threadsafe(self._loop.stop)

    def get(self) -> Any:
        """Return the next message. The loop runs once before each, however many are waiting."""
        loop = self._loop
        if loop is not None:
            if self._envelopes:
                loop.call_soon(loop.stop)
            loop.run_forever()
            # a stop may be left over from a message that was returned before
            while not self._envelopes:
                loop.run_forever()
        return self._envelopes.popleft()

    def empty(self) -> bool:
        """Return whether no message is waiting."""
        return not self._envelopes

    def qsize(self) -> int:
        """Return how many messages are waiting."""
        return len(self._envelopes)


class AsyncioActor(Actor):
    """An actor with an event loop of its own, `loop`, from `on_start` on.

    An exception in a callback or a task is a failure of the actor. An error of
    a connection that a library reports to the loop is only logged.
    """

    loop: asyncio.AbstractEventLoop

    @staticmethod
    def _create_actor_inbox() -> Inbox:
        return Inbox()

    def on_start(self) -> None:
        """Open the loop."""
        self.loop = asyncio.new_event_loop()
        self.loop.set_exception_handler(self._on_loop_error)
        self._inbox.attach(self.loop)

    def on_stop(self) -> None:
        """Cancel the tasks, and close the loop."""
        self._inbox.detach()
        # consume a stop from before: it must not end the wait below
        self._run_once()
        tasks = asyncio.all_tasks(self.loop)
        for task in tasks:
            task.cancel()
        if tasks:
            self.loop.run_until_complete(asyncio.wait(tasks, timeout=CANCEL_TIMEOUT))
        self._run_once()  # for callbacks that were scheduled by the end of tasks, such as those of closed connections
        self.loop.close()

    def on_failure(
        self,
        exception_type: type[BaseException] | None,
        exception_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Log the failure, and close the loop without waiting for tasks."""
        super().on_failure(exception_type, exception_value, traceback)
        self._inbox.detach()
        self.loop.close()

    @property
    def _inbox(self) -> Inbox:
        inbox = self.actor_inbox
        assert isinstance(inbox, Inbox)
        return inbox

    def _run_once(self) -> None:
        self.loop.call_soon(self.loop.stop)
        self.loop.run_forever()

    def _on_loop_error(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Fail for an exception in a callback or a task; log other errors, which concern a single connection."""
        del loop
        error = context.get("exception")
        if error is not None and _FAILED & context.keys():
            self._tell_alive(Crashed(error))
        else:
            log.error("%s: %s: %r", type(self).__name__, context["message"], error, exc_info=error)
