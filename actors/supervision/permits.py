"""What each child process may have the supervisor do: a child that was taken over must not end the node.

Every child replies to pings, and reports the loss of its own links. The director alone
knows when `--once` is done, that the table was flushed, and that IPVS is not available.
"""

from actors.settings import DIRECTOR, Settings
from actors.supervision.control import ChildMessage, Finished, Flushed, LinkLost, Pong

__all__ = ["permits"]

_UNAVAILABLE = 1  # the exit status of a node that cannot work on this machine


def permits(name: str, message: ChildMessage, settings: Settings) -> bool:
    """Tell whether the child called `name` may send this message.

    Whether a lost link is its own is seen where links are made (`LinkMaker.lost`).
    """
    match message:
        case Pong() | LinkLost():
            return True
        case Finished(status):
            return name == DIRECTOR and (settings.once or status == _UNAVAILABLE)
        case Flushed():
            return name == DIRECTOR
