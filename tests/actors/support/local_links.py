"""Stands for the supervisor where both ends of links are in one process."""

import socket
import threading

__all__ = ["LocalLinks"]


class LocalLinks:
    """Connects what publishes and what subscribes under one name, and again at a loss, while there is a publisher."""

    def __init__(self):
        self._lock = threading.RLock()
        self._publishers = {}
        # by the name of the link: the number of each subscriber's connection
        self._subscribers = {}
        self.numbers = 0

    def publish(self, name, connect):
        with self._lock:
            self._publishers[name] = connect
            for subscriber in list(self._subscribers.get(name, ())):
                self._pair(name, subscriber)

    def subscribe(self, name, connect):
        with self._lock:
            self._subscribers.setdefault(name, {})[connect] = 0
            self._pair(name, connect)

    def detach(self, name, connect):
        with self._lock:
            self._subscribers.get(name, {}).pop(connect, None)
            if self._publishers.get(name) == connect:
                del self._publishers[name]

    def lost(self, name, number):
        with self._lock:
            for subscriber, last in list(self._subscribers.get(name, {}).items()):
                if last == number:
                    self._pair(name, subscriber)

    def _pair(self, name, subscriber):
        publisher = self._publishers.get(name)
        if publisher is None:
            return
        self.numbers += 1
        self._subscribers[name][subscriber] = self.numbers
        for connect, end in zip((publisher, subscriber), socket.socketpair(), strict=True):
            connect(end, self.numbers)
