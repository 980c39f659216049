"""What happens to the keys below a prefix, as etcd tells it, for a thread that has other things to wait for, too."""

import threading
from collections import deque
from typing import Protocol

from clusterf.etcd.client import Client
from clusterf.etcd.errors import EtcdError
from clusterf.etcd.watch import Event

__all__ = ["KeyWatch", "Wake"]


class Wake(Protocol):
    """Wakes a thread, as a `threading.Event`."""

    def set(self) -> None:
        """Wake it."""


class KeyWatch:
    """A watch from `revision` on, which sets `wake` when something has come. `close` it in the end."""

    def __init__(self, client: Client, revision: int, wake: Wake) -> None:
        self._watch = client.watch(revision)
        self._wake = wake
        self._came: deque[Event | EtcdError] = deque()
        self._thread = threading.Thread(target=self._read, name="etcd keys", daemon=True)
        self._thread.start()

    def events(self) -> list[Event]:
        """Return what has come, without waiting. Raises EtcdError once the watch has ended, after all its events."""
        events: list[Event] = []
        while self._came:
            match self._came[0]:
                case EtcdError() as error if not events:
                    raise error
                case EtcdError():
                    break
                case event:
                    events.append(event)
                    self._came.popleft()
        return events

    def close(self) -> None:
        """End it."""
        self._watch.cancel()
        self._thread.join()

    def _read(self) -> None:
        try:
            for events in self._watch:
                self._came.extend(events)
                if events:
                    self._wake.set()
        except EtcdError as error:
            self._came.append(error)
            self._wake.set()
