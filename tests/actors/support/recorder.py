"""Stands for the actor at the end of a flow: keeps all messages, and the state that they add up to."""

import threading

import pykka

from actors.base.messages import Upstream
from actors.config.messages import SourceKnown, SourceUpdate
from actors.director.messages import Credit, MergedUpdate
from actors.link.messages import Pulse, Received, StateMessage, Synced, is_deletion
from actors.link.subscription import Subscription

__all__ = ["Recorder", "subscribe"]


class Recorder(pykka.ThreadingActor):
    """Takes what sources say, what comes over a link, or what is wanted in the kernel."""

    def __init__(self):
        super().__init__()
        # all that it was told
        self.messages = []
        # what is, by key
        self.state = {}
        # how often it was told that this is all
        self.syncs = 0
        # the last moment of which it was told what a source was
        self.known = None
        # how many frames it has received
        self.frames = 0
        # cleared: no message is taken
        self.taking = threading.Event()
        self.taking.set()
        # whether frames are acknowledged, and where: at a subscription by the name of its link, or upstream
        self.acknowledging = True
        self.subscriptions = {}
        self.upstream = None

    def on_receive(self, message):
        self.taking.wait()
        match message:
            case SourceUpdate(_, messages, synced):
                self.put(messages)
                self.syncs += synced
            case SourceKnown(_, known):
                self.known = known
            case Received(messages, link):
                self.put(messages)
                self.frames += 1
                if self.acknowledging:
                    self.subscriptions[link].acknowledge()
            case Upstream(actor):
                self.upstream = actor
            case MergedUpdate(link=link):
                self.messages.append(message)
                self.frames += link is not None
                if link is not None and self.acknowledging:
                    self.upstream.tell(Credit(link))
            case _:
                self.messages.append(message)

    def put(self, messages: tuple[StateMessage | Synced, ...]):
        self.messages.extend(message for message in messages if not isinstance(message, Pulse))
        for message in messages:
            if isinstance(message, Synced):
                self.syncs += 1
            elif isinstance(message, Pulse):
                pass
            elif is_deletion(message):
                self.state.pop(message.key, None)
            else:
                self.state[message.key] = message


def subscribe(name, links, ref):
    """Return a subscription that tells the recorder `ref` what comes, and has its frames acknowledged there."""
    subscription = Subscription(name, links, ref.tell)
    ref._actor_weakref().subscriptions[subscription.name] = subscription
    subscription.start()
    return subscription
