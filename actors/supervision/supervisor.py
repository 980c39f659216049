"""The supervisor: starts the child processes of a node, and keeps them running.

Plain code without actors or threads, as what restarts the others must be the
last to fail. It waits for messages of the children, for signals and for its
own deadlines, whichever comes first.

One child that ends is restarted, and only that one, after a back-off with
jitter. If children end more than `intensity` times within `period`, a restart
does not help: it stops all and gives up. A child that lives but does not reply
to pings is made to dump its stacks, and killed.
"""

import logging
import selectors
import signal
import socket
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import msgspec

from actors.base.messages import Confirm, Reload
from actors.settings import Settings
from actors.supervision import control
from actors.supervision.child_process import COMMAND, ChildProcess, Policy

__all__ = ["Supervisor"]

log = logging.getLogger(__name__)


class Supervisor:
    """Runs the children called `names`, given in the order of the data flow.

    `command` runs a child; the number of its end of the control socket is added to it.
    `held` are descriptors that a child is to hold for as long as it lives, by its name.
    """

    def __init__(
        self,
        names: Sequence[str],
        settings: Settings,
        policy: Policy,
        *,
        command: Sequence[str] = COMMAND,
        held: Mapping[str, int | None] | None = None,
    ) -> None:
        self._settings = settings
        self._policy = policy
        self._children = [ChildProcess(name, policy, command, (held or {}).get(name)) for name in names]
        # when children have ended, within the last period
        self._ends: deque[float] = deque()
        self._selector = selectors.DefaultSelector()
        # the exit status, once the node is to end
        self._status: int | None = None

    def run(self) -> int:
        """Run the node until a signal stops it or it has finished; return its exit status."""
        with self._signals():
            try:
                while self._status is None:
                    self._step()
            finally:
                self._stop_all()
        return self._status

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """Have signals wake the selector."""
        reader, writer = socket.socketpair()
        with reader, writer:
            for end in (reader, writer):
                end.setblocking(False)
            self._selector.register(reader, selectors.EVENT_READ, None)
            signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR2):
                signal.signal(number, lambda *_: None)  # the number comes through the socket
            try:
                yield
            finally:
                signal.set_wakeup_fd(-1)

    def _step(self) -> None:
        """Wait for the next event or deadline, and handle it."""
        deadline = min(child.deadline for child in self._children)
        for key, _ in self._selector.select(max(0.0, deadline - time.monotonic())):
            if key.data is None:
                self._handle_signals(key.fileobj)
            else:
                self._handle_message(key.data)
        # after all that was received, so that no child is taken for stuck because the supervisor itself was
        now = time.monotonic()
        for child in self._children:
            if self._status is not None:
                return
            if child.runs:
                child.tend(now)
            elif now >= child.deadline:
                self._start(child)

    def _start(self, child: ChildProcess) -> None:
        try:
            connection = child.start(self._settings)
        except OSError as error:
            self._restart(child, f"{child}: cannot be started: {error}")
        else:
            self._selector.register(connection, selectors.EVENT_READ, child)

    def _handle_signals(self, reader: object) -> None:
        assert isinstance(reader, socket.socket)
        for number in reader.recv(64):
            if number == signal.SIGHUP:
                log.info("reloading")
                self._send_all(Reload())
            elif number == signal.SIGUSR2:
                self._send_all(Confirm())
            elif number in {signal.SIGTERM, signal.SIGINT}:
                log.info("stopping; the table stays as it is")
                self._status = 0

    def _send_all(self, message: Confirm | Reload) -> None:
        for child in self._children:
            child.send(message)

    def _handle_message(self, child: ChildProcess) -> None:
        assert child.control is not None
        try:
            message = control.receive(child.control)
        except (OSError, msgspec.DecodeError) as error:
            log.error("%s: invalid message: %s", child, error)
            message = None
        match message:
            case control.Pong():
                child.replied()
            case control.Finished(status):
                self._status = status
            case control.Flushed():
                self._settings = msgspec.structs.replace(self._settings, flush=False)
            case _:  # it has hung up: it is gone, or about to be
                self._selector.unregister(child.control)
                description, _ = child.reap()
                self._restart(child, description)

    def _restart(self, child: ChildProcess, description: str) -> None:
        """Have a child that has ended started again after a delay, or give up."""
        now = time.monotonic()
        self._ends.append(now)
        while self._ends[0] < now - self._policy.period:
            self._ends.popleft()
        if len(self._ends) > self._policy.intensity:
            log.error("%s", description)
            log.error("giving up: %d exits of processes within %.0f seconds", len(self._ends), self._policy.period)
            self._status = 1
            return
        log.error("%s, restarting in %.1f seconds", description, child.restart_later())

    def _stop_all(self) -> None:
        """Stop the children against the flow, so that what a stopped one no longer sends is not taken for deleted."""
        for child in reversed(self._children):
            if child.runs:
                child.stop()
        self._selector.close()
