"""An actor whose work is done by a thread of its own, beside the thread that takes its messages."""

import logging
import threading
from abc import abstractmethod

import pykka

from actors.base.actor import Actor
from actors.base.messages import Crashed

__all__ = ["ThreadedActor"]

log = logging.getLogger(__name__)


class ThreadedActor(Actor):
    """An actor with a worker thread, from `on_start` to `on_stop`. An exception in the worker is the actor's failure.

    The worker has `patience` seconds to end (None: as long as it takes); one
    that is stuck ends with the process.
    """

    def __init__(self, thread_name: str, patience: float | None = 2.0) -> None:
        super().__init__()
        self._thread = threading.Thread(target=self._run, name=thread_name)
        self._patience = patience

    def on_start(self) -> None:
        """Start the worker."""
        self._thread.start()

    def on_stop(self) -> None:
        """Stop the worker, and wait for it."""
        self.stop_work()
        self._thread.join(self._patience)

    @abstractmethod
    def work(self) -> None:
        """Do the work, in the worker thread, until `stop_work` is called."""

    @abstractmethod
    def stop_work(self) -> None:
        """Have `work` return soon."""

    def _run(self) -> None:
        try:
            self.work()
        except pykka.ActorDeadError as error:
            # the receiver of this actor's messages has stopped, and the process is about to end
            log.debug("%s: stopping: %s", type(self).__name__, error)
        except Exception as error:  # noqa: BLE001
            # raised again in the actor, where pykka and the child process notice it
            self._tell_alive(Crashed(error))
