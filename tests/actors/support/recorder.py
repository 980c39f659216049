"""Stands for whoever is told things: keeps them, and what state they add up to."""

import threading

import pykka

from actors.config.messages import SourceUpdate
from actors.link.messages import Received, StateMessage, Synced, deletion_of

__all__ = ["Recorder"]


class Recorder(pykka.ThreadingActor):
    """Takes what sources say, or what comes over a link."""

    def __init__(self):
        super().__init__()
        # all that it was told
        self.messages = []
        # what is, by key
        self.state = {}
        # how often it was told that this is all
        self.syncs = 0
        # cleared: what comes over a link is not taken
        self.taking = threading.Event()
        self.taking.set()

    def on_receive(self, message):
        match message:
            case SourceUpdate(_, messages, synced):
                self.put(messages)
                self.syncs += synced
            case Received(messages, taken):
                self.taking.wait()
                self.put(messages)
                taken()
            case _:
                self.messages.append(message)

    def put(self, messages: tuple[StateMessage | Synced, ...]):
        self.messages.extend(messages)
        for message in messages:
            if isinstance(message, Synced):
                self.syncs += 1
            elif message == deletion_of(message.key):
                self.state.pop(message.key, None)
            else:
                self.state[message.key] = message
