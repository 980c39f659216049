"""The supervisor: starts the child processes of a node, and keeps them running.

Plain code without actors or threads, as what restarts the others must be the
last to fail. It waits for messages of the children, for signals and for its
own deadlines, whichever comes first.

One child that ends is restarted, and only that one, after a back-off with
jitter. If children end more than `intensity` times within `period`, something
is wrong that a restart does not mend: it stops all and gives up. A child that
lives but does not answer is made to dump its stacks, and ended.
"""

import logging
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec

from actors.settings import Settings
from actors.supervision import control
from clusterf.lib.backoff import Backoff

__all__ = ["Policy", "Supervisor"]

log = logging.getLogger(__name__)


COMMAND = (sys.executable, "-P", "-m", "actors.supervision.child")


class Policy(NamedTuple):
    """How patient the supervisor is. All but `intensity` are seconds.

    `start_timeout` is for the first answer of a child, `stuck_timeout` for the others.
    """

    intensity: int = 10
    period: float = 60.0
    stuck_timeout: float = 30.0
    stop_timeout: float = 15.0
    start_timeout: float = 30.0
    first_delay: float = 0.1
    longest_delay: float = 5.0


class _Child:
    """One child, through all of its lives."""

    def __init__(self, name: str, policy: Policy) -> None:
        self.name = name
        self.process: subprocess.Popen[bytes] | None = None
        self.control: socket.socket | None = None
        self.backoff = Backoff(policy.first_delay, policy.longest_delay)
        self.started = 0.0
        # when to start it again, if it is down
        self.due: float | None = 0.0
        self.pinged = 0.0
        self.answered = 0.0
        # when to end it for good, if it has been made to dump its stacks
        self.doomed: float | None = None

    def send(self, message: control.Begin | control.Confirm | control.Ping | control.Reload | control.Stop) -> None:
        """Send the child a message; if it is gone, that will be noticed elsewhere."""
        if self.control is None:
            return
        try:
            control.send(self.control, message)
        except OSError as error:
            log.debug("%s: does not hear: %s", self.name, error)


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
        self._command = command
        self._held = held or {}
        self._policy = policy
        self._children = [_Child(name, policy) for name in names]
        self._ends: deque[float] = deque()
        self._selector = selectors.DefaultSelector()
        # the exit status, once the node is to end
        self._status: int | None = None

    def run(self) -> int:
        """Run the node until it is told to stop or has finished; return its exit status."""
        reader, writer = socket.socketpair()
        for end in (reader, writer):
            end.setblocking(False)
        self._selector.register(reader, selectors.EVENT_READ, None)
        signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR2):
            signal.signal(number, lambda *_: None)  # the wake-up tells which
        try:
            while self._status is None:
                self._step()
        finally:
            self._stop_all()
            signal.set_wakeup_fd(-1)
            reader.close()
            writer.close()
        return self._status

    def _step(self) -> None:
        """Wait for the next thing to do, and do it."""
        deadline = min(self._deadline(child) for child in self._children)
        for key, _ in self._selector.select(max(0.0, deadline - time.monotonic())):
            if key.data is None:
                self._heed_signals(key.fileobj)
            else:
                self._heed_child(key.data)
        # after all that was heard, so that no child is taken for stuck since the supervisor itself was
        now = time.monotonic()
        for child in self._children:
            if self._status is None:
                self._tend(child, now)

    def _tend(self, child: _Child, now: float) -> None:
        """Do what is due for one child."""
        policy = self._policy
        if child.process is None:
            if child.due is not None and now >= child.due:
                self._start(child)
        elif child.doomed is not None:
            if now >= child.doomed:
                child.process.kill()
                child.doomed = now + 1  # it ends when the kernel lets it
        elif now - child.answered > policy.stuck_timeout:
            log.error(
                "%s (pid %d): stuck for %.0f seconds, its stacks:", child.name, child.process.pid, now - child.answered
            )
            child.process.send_signal(signal.SIGUSR1)
            child.doomed = now + 1
        elif now - child.pinged >= policy.stuck_timeout / 4:
            child.pinged = now
            child.send(control.Ping(int(now)))

    def _deadline(self, child: _Child) -> float:
        """Return when there is next something due for the child, on the clock of `time.monotonic`."""
        if child.process is None:
            return child.due if child.due is not None else float("inf")
        if child.doomed is not None:
            return child.doomed
        return min(child.pinged + self._policy.stuck_timeout / 4, child.answered + self._policy.stuck_timeout + 0.001)

    def _start(self, child: _Child) -> None:
        now = child.started = child.pinged = time.monotonic()
        # the first answer has to wait until the modules are loaded and the actors have started
        child.answered = now + max(0.0, self._policy.start_timeout - self._policy.stuck_timeout)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        held = self._held.get(child.name)
        try:
            with theirs:
                fds = [theirs.fileno(), *([] if held is None else [held])]
                child.process = subprocess.Popen(
                    [*self._command, str(theirs.fileno())], pass_fds=fds, stdin=subprocess.DEVNULL
                )
        except OSError as error:
            ours.close()
            self._count_end(child, f"{child.name}: cannot be started: {error}")
            return
        child.control = ours
        child.due = child.doomed = None
        child.send(control.Begin(child.name, self._settings))
        self._selector.register(ours, selectors.EVENT_READ, child)
        log.debug("%s: started, pid %d", child.name, child.process.pid)

    def _heed_signals(self, reader: object) -> None:
        assert isinstance(reader, socket.socket)
        for number in reader.recv(64):
            if number == signal.SIGHUP:
                log.info("reading all again")
                self._send_all(control.Reload())
            elif number == signal.SIGUSR2:
                self._send_all(control.Confirm())
            elif number in {signal.SIGTERM, signal.SIGINT}:
                log.info("stopping; the table stays as it is")
                self._status = 0

    def _send_all(self, message: control.Confirm | control.Reload) -> None:
        for child in self._children:
            child.send(message)

    def _heed_child(self, child: _Child) -> None:
        assert child.control is not None
        try:
            message = control.receive(child.control)
        except (OSError, msgspec.DecodeError) as error:
            log.error("%s: %s", child.name, error)
            message = None
        match message:
            case control.Pong():
                child.answered = time.monotonic()
            case control.Finished(status):
                self._status = status
            case control.Flushed():
                self._settings = msgspec.structs.replace(self._settings, flush=False)
            case _:
                self._ended(child)

    def _ended(self, child: _Child) -> None:
        """See to a child that has hung up: it is gone, or about to be."""
        self._count_end(child, self._describe(child, self._reap(child)))

    def _count_end(self, child: _Child, description: str) -> None:
        """Have the child started again after a while, or give up."""
        now = time.monotonic()
        if now - child.started > self._policy.period:
            child.backoff.reset()
        self._ends.append(now)
        while self._ends[0] < now - self._policy.period:
            self._ends.popleft()
        if len(self._ends) > self._policy.intensity:
            log.error("%s", description)
            log.error("giving up: children ended %d times within %.0f seconds", len(self._ends), self._policy.period)
            self._status = 1
            return
        delay = child.backoff.next()
        child.due = now + delay
        log.error("%s, starting it again in %.1f seconds", description, delay)

    def _describe(self, child: _Child, process: subprocess.Popen[bytes]) -> str:
        status = process.returncode
        how = f"killed by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
        return f"{child.name} (pid {process.pid}): {how}"

    def _reap(self, child: _Child) -> subprocess.Popen[bytes]:
        """Let go of a child that has hung up; it has a moment to end by itself."""
        assert child.process is not None
        assert child.control is not None
        process, child.process = child.process, None
        self._selector.unregister(child.control)
        child.control.close()
        child.control = None
        try:
            process.wait(self._policy.stop_timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        return process

    def _stop_all(self) -> None:
        """Stop the children against the flow, so that nothing is taken for gone on the way."""
        for child in reversed(self._children):
            if child.process is not None:
                child.send(control.Stop())
                process = self._reap_stopped(child)
                if process.returncode:
                    log.warning("%s", self._describe(child, process))
        self._selector.close()

    def _reap_stopped(self, child: _Child) -> subprocess.Popen[bytes]:
        assert child.process is not None
        try:
            child.process.wait(self._policy.stop_timeout)
        except subprocess.TimeoutExpired:
            log.error("%s: does not stop, killing it", child.name)
            child.process.kill()
        return self._reap(child)
