"""AuthoritiesWatcher: reads the files of authorities that checks name, and follows their changes."""

import threading
from collections import deque
from typing import Any

import pykka

from actors.base.threaded_actor import ThreadedActor
from actors.config.messages import AuthoritiesRead, FileNamed
from clusterf.health.authority_files import AuthorityFiles

__all__ = ["AuthoritiesWatcher"]

INTERVAL = 0.5  # seconds between looks at the files
_IDLE = 3600.0  # seconds without a look if there are none


class AuthoritiesWatcher(ThreadedActor):
    """Tells `publisher` what the files hold that it names, in a thread of its own: a file system may hang."""

    def __init__(self, publisher: pykka.ActorRef[Any]) -> None:
        super().__init__("authorities")
        self._publisher = publisher
        # files that the worker has not heard of, and whether it is to read all files again
        self._news: deque[FileNamed] = deque()
        self._reload = False
        self._wake = threading.Event()
        self._stopping = False

    def receive(self, message: Any) -> None:
        """Have the worker follow a file, or forget it."""
        match message:
            case FileNamed():
                self._news.append(message)
                self._wake.set()
            case _:
                super().receive(message)

    def work(self) -> None:
        """Look at the files, at intervals and when there are others."""
        files = AuthorityFiles()
        while True:
            self._wake.clear()
            if self._stopping:
                return
            while self._news:
                news = self._news.popleft()
                files.put(news.path, named=news.named)
            if self._reload:
                self._reload = False
                files.reload()
            if changes := files.poll():
                self._publisher.tell(AuthoritiesRead(changes))
            self._wake.wait(INTERVAL if len(files) else _IDLE)

    def stop_work(self) -> None:
        """Stop looking."""
        self._stopping = True
        self._wake.set()

    def reload(self) -> None:
        """Read all files again."""
        self._reload = True
        self._wake.set()
