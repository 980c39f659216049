"""Looking at an actor in its own thread."""

from actors.base.messages import Leave

__all__ = ["between_messages"]


def between_messages(ref, look):
    """Return what `look` returns in the actor's thread, behind all messages that it has been told so far."""
    seen = []
    actor = ref._actor_weakref()
    actor.leave = lambda: seen.append(look())
    ref.ask(Leave(), timeout=30)
    return seen[0]
