"""An actor whose thread runs an event loop while it waits for messages.

So what it does by asyncio and what it is told happen in one thread, one at a
time, and a ping is answered by the thread that does the work. pykka's own loop
stays as it is: only where it waits for the next message, the event loop runs
until there is one.
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

LEAVE = 1.0  # seconds that cancelled tasks have to end
# what a loop names when a callback has failed, or a task whose result nobody asks for
_FAILED = frozenset({"handle", "future"})


class Inbox:
    """What an actor is told, for pykka: `get` runs the event loop until there is something."""

    def __init__(self) -> None:
        self._envelopes: deque[Any] = deque()
        self._loop: asyncio.AbstractEventLoop | None = None
        # that the loop is not closed while another thread wakes it
        self._lock = threading.Lock()

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        """Run `loop` from now on, in the thread that calls `get`."""
        with self._lock:
            self._loop = loop

    def detach(self) -> None:
        """Run the loop no more, and do not touch it."""
        with self._lock:
            self._loop = None

    def put(self, envelope: Any, /) -> None:
        """Add a message, from any thread."""
        self._envelopes.append(envelope)
        with self._lock:
            if self._loop is not None:
                # heeded too if the loop does not run yet: it then stops as soon as it does
                self._loop.call_soon_threadsafe(self._loop.stop)

    def get(self) -> Any:
        """Return the next message. The loop has its turn before each, however many are waiting."""
        loop = self._loop
        if loop is not None:
            if self._envelopes:
                loop.call_soon(loop.stop)
            loop.run_forever()
            # it may stop for a message that has been taken before
            while not self._envelopes:
                loop.run_forever()
        return self._envelopes.popleft()

    def empty(self) -> bool:
        """Tell whether no message waits."""
        return not self._envelopes

    def qsize(self) -> int:
        """Return how many messages wait."""
        return len(self._envelopes)


class AsyncioActor(Actor):
    """An actor with an event loop of its own, `loop`, from `on_start` on.

    What fails in a callback or a task is a failure of the actor. What a
    library reports of a connection is not.
    """

    loop: asyncio.AbstractEventLoop

    @staticmethod
    def _create_actor_inbox() -> Inbox:
        return Inbox()

    def on_start(self) -> None:
        """Open the loop."""
        self.loop = asyncio.new_event_loop()
        self.loop.set_exception_handler(self._heed_trouble)
        self._inbox.attach(self.loop)

    def on_stop(self) -> None:
        """End the tasks, and close the loop."""
        self._inbox.detach()
        # whoever has woken the loop before that must not end a wait of ours
        self._run_once()
        tasks = asyncio.all_tasks(self.loop)
        for task in tasks:
            task.cancel()
        if tasks:
            self.loop.run_until_complete(asyncio.wait(tasks, timeout=LEAVE))
        self._run_once()  # for what hears of its end only now, as closed connections do
        self.loop.close()

    def on_failure(
        self,
        exception_type: type[BaseException] | None,
        exception_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Say who failed; what is under way ends with the process."""
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

    def _heed_trouble(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Fail by a callback or a task; what else is told is of one connection, and the other side's doing."""
        del loop
        error = context.get("exception")
        if error is not None and _FAILED & context.keys():
            self._tell_alive(Crashed(error))
        else:
            log.error("%s: %s: %r", type(self).__name__, context["message"], error, exc_info=error)
