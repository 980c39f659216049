"""A child process: hosts the actors of one process of the node, and ends when one of them does.

Run by the supervisor as `python -m actors.supervision.child FD`, where FD is its end of
the control socket. It ends on `Stop`, when its supervisor is gone, or when one of
its actors is: then with a status that makes the supervisor restart it.
"""

import faulthandler
import gc
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import pykka
import setproctitle

from actors.base.messages import Confirm, Leave, Ping, Reload
from actors.base.process import Host, Ref
from actors.link.links import Links
from actors.node import child_of
from actors.supervision import control
from clusterf.ipvs.kernel import Unavailable
from clusterf.lib import logs
from clusterf.lib.output import Output

__all__ = ["CRASHED", "main"]

log = logging.getLogger(__name__)

CRASHED = 70  # exit status when an actor failed (EX_SOFTWARE of sysexits.h)
STOP_TIMEOUT = 10.0  # seconds that an actor may take to stop


def main() -> None:
    """Be the process that the first message on the control socket names."""
    control_socket = socket.socket(fileno=int(sys.argv[1]))
    _ignore_signals()
    signal.signal(signal.SIGTERM, lambda *_: _end(control_socket))
    begin = control.receive(control_socket)
    if not isinstance(begin, control.Begin):
        os._exit(0)  # the supervisor is gone already
    setproctitle.setproctitle(f"clusterf-node: {begin.name}")
    logs.set_up(begin.settings.log_format, begin.settings.log_level)
    # the supervisor sends this when we seem stuck; it works even if no Python code can run
    faulthandler.register(signal.SIGUSR1, all_threads=True)
    threading.excepthook = _crash
    # a large state is made of objects that stay: frequent collections would walk them all and find no garbage
    gc.set_threshold(100_000, 20, 100)
    status = _run(begin, control_socket)
    logging.shutdown()
    # not sys.exit: that waits for every thread, and a stuck one is why we may be here
    os._exit(status)


def _run(begin: control.Begin, control_socket: socket.socket) -> int:
    lock = threading.Lock()

    def send(message: control.ControlMessage) -> None:
        # if the supervisor is gone, the listener notices, too
        with lock, suppress(OSError):
            control.send(control_socket, message)

    links = Links(lambda name, number: send(control.LinkLost(name, number)))
    host = Host(
        finish=lambda status: send(control.Finished(status)),
        flushed=lambda: send(control.Flushed()),
        links=links,
        output=Output(sys.stdout),  # which another user may not open
    )
    process = child_of(begin.name, begin.settings)
    begin.confinement.apply(process)
    try:
        actors = process.start(begin.settings, host)
    except Unavailable as error:
        log.error("%s", error)
        send(control.Finished(1))
        return 0
    for actor in actors:
        threading.Thread(target=_watch, args=(actor, control_socket), daemon=True).start()
    return _Listener(actors, control_socket, send, links).run()


class _Listener(NamedTuple):
    """Passes on the supervisor's messages to the actors, until one is to stop, or an actor is gone."""

    actors: Sequence[Ref]
    channel: socket.socket
    send: Callable[[control.ControlMessage], None]
    links: Links

    def run(self) -> int:
        """Return the exit status."""
        while True:
            try:
                message, end = control.receive_end(self.channel)
            except OSError:
                message, end = None, None
            match message:
                case Ping():
                    self._ping(message)
                case Reload() | Confirm():
                    self._tell(message)
                case control.LinkEnd(link, peer, number):
                    self.links.deliver(link, end, number, peer)
                case control.Stop() if self._all_alive():
                    self._tell(Leave())
                    return self._stop()
                case _ if self._all_alive():
                    return self._stop()
                case _:
                    return CRASHED

    def _ping(self, ping: Ping) -> None:
        """Have the pong sent once every actor has replied."""
        replies = [actor.ask(ping, block=False) for actor in self.actors]
        threading.Thread(target=self._pong, args=(replies,), name="pong", daemon=True).start()

    def _pong(self, replies: Sequence[pykka.Future[Any]]) -> None:
        with suppress(pykka.ActorDeadError):  # `_watch` has seen it, too, and ends the process
            pykka.get_all(replies)
            self.send(control.Pong())

    def _all_alive(self) -> bool:
        return all(actor.is_alive() for actor in self.actors)

    def _tell(self, message: Reload | Confirm | Leave) -> None:
        for actor in self.actors:
            try:
                actor.tell(message)
            except pykka.ActorDeadError:
                return  # `_watch` has seen it, too, and ends the process

    def _stop(self) -> int:
        """Stop the actors against the flow, so that what a stopped one no longer sends is not taken for deleted."""
        for actor in reversed(self.actors):
            try:
                actor.stop(timeout=STOP_TIMEOUT)
            except pykka.Timeout:
                log.warning("%s: not stopped within %g seconds, left behind", actor.actor_class.__name__, STOP_TIMEOUT)
        return 0


def _watch(actor: Ref, control_socket: socket.socket) -> None:
    """Wait for the actor's end, then wake the listener: pykka reports no actor that dies in `on_start`."""
    actor.actor_stopped.wait()
    _end(control_socket)


def _crash(failure: threading.ExceptHookArgs) -> None:
    """End the process: without this thread it would live on, but no longer do its work."""
    assert failure.exc_value is not None
    name = failure.thread.name if failure.thread is not None else "?"
    log.critical("thread %s failed: %r", name, failure.exc_value, exc_info=failure.exc_value)
    os._exit(CRASHED)


def _end(control_socket: socket.socket) -> None:
    """Have the listener see the end of the control socket."""
    try:
        control_socket.shutdown(socket.SHUT_RD)
    except OSError:
        log.debug("the supervisor is gone already")


def _ignore_signals() -> None:
    # a terminal sends these to all of its processes; the supervisor handles them
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)


if __name__ == "__main__":
    main()
