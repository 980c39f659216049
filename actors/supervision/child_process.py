"""One child process as its supervisor has it: started, pinged, ended, and started again."""

import logging
import math
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import NamedTuple

from actors.base.messages import Ping
from actors.settings import Settings
from actors.supervision import control
from clusterf.lib.backoff import Backoff

__all__ = ["ChildProcess", "Policy"]

log = logging.getLogger(__name__)

COMMAND = (sys.executable, "-P", "-m", "actors.supervision.child")
DUMP_TIME = 1.0  # seconds in which a stuck child dumps its stacks before it is killed


class Policy(NamedTuple):
    """How patient the supervisor is. All but `intensity` are seconds.

    The node gives up after more than `intensity` exits of children within
    `period`. `start_timeout` is for the first reply of a child to a ping,
    `stuck_timeout` for the others.
    """

    intensity: int = 10
    period: float = 60.0
    stuck_timeout: float = 30.0
    stop_timeout: float = 15.0
    start_timeout: float = 30.0
    first_delay: float = 0.1
    longest_delay: float = 5.0


class ChildProcess:
    """The child called `name`, through all of its lives.

    It is run by `command`, to which the number of its end of the control
    socket is added. `held` is a descriptor that it holds for as long as it lives.
    """

    def __init__(self, name: str, policy: Policy, command: Sequence[str] = COMMAND, held: int | None = None) -> None:
        self.name = name
        self._policy = policy
        self._command = command
        self._held = held
        self._process: subprocess.Popen[bytes] | None = None
        # our end of the control socket, while the process runs
        self.control: socket.socket | None = None
        self._backoff = Backoff(policy.first_delay, policy.longest_delay)
        # on the clock of `time.monotonic`: when it was started, pinged, and has last replied
        self._started = self._pinged = self._replied = 0.0
        # when to start it, if it does not run, or to kill it, if it is stuck
        self._due = 0.0
        self._is_stuck = False

    def __str__(self) -> str:
        """Return how log lines begin that are about this process."""
        return f"{self.name} (pid {self._process.pid})" if self._process is not None else self.name

    @property
    def runs(self) -> bool:
        """Whether there is a process."""
        return self._process is not None

    @property
    def deadline(self) -> float:
        """When `tend` has next something to do, on the clock of `time.monotonic`."""
        if self._process is None or self._is_stuck:
            return self._due
        patience = self._policy.stuck_timeout
        return min(self._pinged + patience / 4, math.nextafter(self._replied + patience, math.inf))

    def start(self, settings: Settings) -> socket.socket:
        """Start the process; return our end of the control socket. Raises OSError."""
        now = self._started = self._pinged = time.monotonic()
        # the first reply has to wait until the modules are loaded and the actors have started
        self._replied = now + max(0.0, self._policy.start_timeout - self._policy.stuck_timeout)
        self._is_stuck = False
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            passed = [theirs.fileno(), *([] if self._held is None else [self._held])]
            try:
                self._process = subprocess.Popen(
                    [*self._command, str(theirs.fileno())], pass_fds=passed, stdin=subprocess.DEVNULL
                )
            except OSError:
                ours.close()
                raise
        self.control = ours
        self.send(control.Begin(self.name, settings))
        log.debug("%s: started", self)
        return ours

    def tend(self, now: float) -> None:
        """Ping the process when it is time to; have it dump its stacks if it is stuck, then kill it."""
        if self._process is None:
            return
        if (late := now - self.deadline) > self._policy.stuck_timeout / 4:
            self._replied += late  # the supervisor itself was paused, perhaps the whole machine
        silence = now - self._replied
        if self._is_stuck:
            if now >= self._due:
                self._process.kill()
                self._due = now + DUMP_TIME  # it ends when the kernel lets it
        elif silence > self._policy.stuck_timeout:
            log.error("%s: stuck for %.0f seconds, dumping its stacks and killing it", self, silence)
            self._process.send_signal(signal.SIGUSR1)
            self._is_stuck, self._due = True, now + DUMP_TIME
        elif now - self._pinged >= self._policy.stuck_timeout / 4:
            self._pinged = now
            self.send(Ping())

    def replied(self) -> None:
        """Note that every actor of the process has replied to a ping."""
        self._replied = time.monotonic()

    def send(self, message: control.ControlMessage) -> None:
        """Send the process a message, if it runs; one that is about to end may miss it."""
        if self.control is None:
            return
        try:
            control.send(self.control, message)
        except OSError as error:
            log.debug("%s: a message was not delivered: %s", self, error)

    def restart_later(self) -> float:
        """Return the seconds until the process is to be started again: the more, the more often it has ended."""
        now = time.monotonic()
        if now - self._started > self._policy.period:
            self._backoff.reset()
        delay = self._backoff.next()
        self._due = now + delay
        return delay

    def stop(self) -> None:
        """Have the process stop, and wait until it has; kill it if that takes too long."""
        assert self._process is not None
        self.send(control.Stop())
        try:
            self._process.wait(self._policy.stop_timeout)
        except subprocess.TimeoutExpired:
            log.error("%s: not stopped within %g seconds, killing it", self, self._policy.stop_timeout)
            self._process.kill()
        description, status = self.reap()
        if status:
            log.warning("%s", description)

    def reap(self) -> tuple[str, int]:
        """Wait for the end of a process that has hung up, or is killed; return how it ended, and its exit status."""
        assert self._process is not None
        assert self.control is not None
        self.control.close()
        self.control = None
        try:
            status = self._process.wait(self._policy.stop_timeout)
        except subprocess.TimeoutExpired:
            self._process.kill()
            status = self._process.wait()
        how = f"killed by {signal.Signals(-status).name}" if status < 0 else f"exited with status {status}"
        description = f"{self}: {how}"
        self._process = None
        return description, status
