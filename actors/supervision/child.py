"""A child process: hosts some actors, and stands and falls with them.

Run by the supervisor as `python -m actors.supervision.child FD`, where FD is its end of
the control socket. It ends when it is told to, when its supervisor is gone, or
when one of its actors is: then with a status that calls for a new one.
"""

import faulthandler
import gc
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any

import pykka
import setproctitle

from actors.base import messages
from actors.base.process import Host
from actors.node import child_of
from actors.supervision import control
from clusterf.host.capabilities import drop_all_but
from clusterf.ipvs.kernel import Unavailable
from clusterf.lib import logs

__all__ = ["CRASHED", "main"]

log = logging.getLogger(__name__)

CRASHED = 70  # exit status when an actor failed (EX_SOFTWARE of sysexits.h)
STOP_TIMEOUT = 10.0  # seconds that an actor may take to stop


def main() -> None:
    """Be the child that the first message on the control socket says."""
    control_socket = socket.socket(fileno=int(sys.argv[1]))
    _ignore_signals()
    signal.signal(signal.SIGTERM, lambda *_: _end(control_socket))
    begin = control.receive(control_socket)
    if not isinstance(begin, control.Begin):
        os._exit(0)  # the supervisor is gone already
    setproctitle.setproctitle(f"clusterf-node: {begin.name}")
    logs.set_up(begin.settings.log_format, begin.settings.log_level)
    # the supervisor asks for this when we seem stuck; it works even if no Python code can run
    faulthandler.register(signal.SIGUSR1, all_threads=True)
    threading.excepthook = _crash
    # a large state grows by objects that stay: to look through all of them again and again finds no garbage
    gc.set_threshold(100_000, 20, 100)
    status = _run(begin, control_socket)
    logging.shutdown()
    # not sys.exit: that waits for every thread, and a stuck one is why we may be here
    os._exit(status)


def _run(begin: control.Begin, control_socket: socket.socket) -> int:
    lock = threading.Lock()

    def say(message: Any) -> None:
        # where the supervisor is gone, the listener sees it too
        with lock, suppress(OSError):
            control.send(control_socket, message)

    host = Host(finish=lambda status: say(control.Finished(status)), flushed=lambda: say(control.Flushed()))
    child = child_of(begin.name, begin.settings)
    try:
        drop_all_but(child.capabilities)
        actors = child.start(begin.settings, host)
    except Unavailable as error:
        log.error("%s", error)
        say(control.Finished(1))
        return 0
    for actor in actors:
        threading.Thread(target=_watch, args=(actor, control_socket), daemon=True).start()
    return _Listener(actors, control_socket, say).run()


class _Listener:
    """Does what the supervisor says, until it says stop or an actor is gone."""

    def __init__(self, actors: Sequence[pykka.ActorRef[Any]], control_socket: socket.socket, say: Any) -> None:
        self._actors = actors
        self._control = control_socket
        self._say = say

    def run(self) -> int:
        """Return the exit status."""
        while True:
            try:
                message = control.receive(self._control)
            except OSError:
                message = None
            match message:
                case control.Ping(number):
                    self._ping(number)
                case control.Reload():
                    self._tell(messages.Reload())
                case control.Confirm():
                    self._tell(messages.Confirm())
                case control.Stop() if self._all_alive():
                    self._tell(messages.Leave())
                    return self._stop()
                case _ if self._all_alive():
                    return self._stop()
                case _:
                    return CRASHED

    def _ping(self, number: int) -> None:
        """Answer once every actor has, while the listener goes on."""
        answers = [actor.ask(messages.Ping(), block=False) for actor in self._actors]
        threading.Thread(target=self._pong, args=(number, answers), daemon=True).start()

    def _pong(self, number: int, answers: Iterable[pykka.Future[Any]]) -> None:
        with suppress(pykka.ActorDeadError):  # `_watch` has seen it too
            pykka.get_all(answers)
            self._say(control.Pong(number))

    def _all_alive(self) -> bool:
        return all(actor.is_alive() for actor in self._actors)

    def _tell(self, message: messages.Reload | messages.Confirm | messages.Leave) -> None:
        for actor in self._actors:
            try:
                actor.tell(message)
            except pykka.ActorDeadError:
                return  # `_watch` has seen it too, and will end us

    def _stop(self) -> int:
        """Stop the actors against the flow, so that nothing is taken for gone on the way."""
        for actor in reversed(self._actors):
            try:
                actor.stop(timeout=STOP_TIMEOUT)
            except pykka.Timeout:
                log.warning("%s does not stop, leaving it", actor.actor_class.__name__)
        return 0


def _watch(actor: pykka.ActorRef[Any], control_socket: socket.socket) -> None:
    """Wait for the actor's end, then have the listener see to it: pykka tells nobody of one that dies in `on_start`."""
    actor.actor_stopped.wait()
    _end(control_socket)


def _crash(failure: threading.ExceptHookArgs) -> None:
    """End the process: without this thread it would live on, and no longer do its work."""
    assert failure.exc_value is not None
    name = failure.thread.name if failure.thread is not None else "?"
    log.critical("the thread %s failed: %r", name, failure.exc_value, exc_info=failure.exc_value)
    os._exit(CRASHED)


def _end(control_socket: socket.socket) -> None:
    """Have the listener take it that there will be no more messages."""
    try:
        control_socket.shutdown(socket.SHUT_RD)
    except OSError:
        log.debug("the supervisor is gone already")


def _ignore_signals() -> None:
    # what a terminal sends to all of its processes is for the supervisor to heed
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)


if __name__ == "__main__":
    main()
