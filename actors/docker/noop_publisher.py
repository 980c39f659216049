"""NoopPublisher: logs the writes to etcd that KeyPublisher would make, as etcdctl commands."""

import logging
import shlex
from typing import Any

from actors.base.actor import Actor
from actors.docker.key_publisher import EngineIs, Found, Publish, PublishOnly, TellFound
from clusterf.etcd.location import EtcdLocation
from clusterf.lib.text import escape, printable, printable_json

__all__ = ["NoopPublisher"]

log = logging.getLogger(__name__)

_LONGEST = 1000  # characters of a command that is logged as a whole, which are at most 4000 bytes
_SHOWN = 200  # characters of a longer one


class NoopPublisher(Actor):
    """Takes the place of KeyPublisher with `--noop`, and writes nothing."""

    def __init__(self, location: EtcdLocation) -> None:
        super().__init__()
        self._prefix = location.prefix
        self._published: dict[bytes, bytes] = {}

    def receive(self, message: Any) -> None:
        """Log what would be written."""
        match message:
            case TellFound(actor):
                actor.tell(Found({}))
            case EngineIs():
                pass
            case Publish():
                self._publish(message)
            case PublishOnly(wanted):
                for path in self._published.keys() - wanted.keys():
                    self._publish(Publish(path, None))
                for path, value in wanted.items():
                    self._publish(Publish(path, value))
            case _:
                raise TypeError(f"NoopPublisher does not handle {message!r}")

    def _publish(self, change: Publish) -> None:
        if self._published.get(change.path) == change.value:
            return
        if change.value is None:
            del self._published[change.path]
            words = ["del", escape(self._prefix + change.path)]
        else:
            self._published[change.path] = change.value
            words = ["put", escape(self._prefix + change.path), printable_json(change.value.decode(errors="replace"))]
        command = shlex.join(words)
        if len(command) > _LONGEST:
            # one that is cut would have a quote without its end, and go on in the next line
            log.info("etcd noop: a command of %d characters: %s", len(command), printable(command, _SHOWN))
        else:
            log.info("etcd noop: etcdctl %s", command)
