"""One child process as its supervisor has it: started, pinged, ended, and started again.

Nothing here waits for the child, but `stop`. When what is due is decided by
`actors.supervision.policy`; times are those of the supervisor's clock.
"""

import logging
import os
import signal
import socket
import subprocess
from collections.abc import Sequence
from contextlib import ExitStack
from math import inf

from actors.base.messages import Confirm, Ping, Reload
from actors.settings import Settings
from actors.supervision import control
from actors.supervision.launch import COMMAND, UNCONFINED, Launch
from actors.supervision.outbox import Outbox
from actors.supervision.policy import Act, Policy, Restarts, Vigil
from clusterf.host.starvation import Starvation

__all__ = ["CONFIRMED", "ChildProcess"]

log = logging.getLogger(__name__)

# processes that do not end although they were killed: the kernel ends them when it can
_left_behind: list[subprocess.Popen[bytes]] = []

CONFIRMED = 15.0  # seconds for which the successor of a process is told of a confirmation


class ChildProcess:
    """The child called `name`, through all of its lives.

    It is run by `command`, to which the number of its end of the control socket is added.
    """

    def __init__(self, name: str, policy: Policy, command: Sequence[str] = COMMAND) -> None:
        self.name = name
        self._policy = policy
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None
        # our end of the control socket, until the process has hung up
        self.control: socket.socket | None = None
        self._restarts = Restarts(policy)
        # whether it has replied to a ping: in this life, and in any
        self._replied = False
        self.was_in_order = False
        # whether it ends again and again, so that nobody has to read of each time
        self.in_crash_loop = False
        # when to start it, if it does not run, or to kill it, if it has hung up
        self._due = 0.0
        # requests of the operator that wait for the reply to a ping: a child has one of a kind to carry out at a time
        self._requests: dict[type, Confirm | Reload] = {}
        # when the operator confirmed something last
        self._confirmed = -inf

    def __str__(self) -> str:
        """Return how log lines begin that are about this process."""
        return f"{self.name} (pid {self._process.pid})" if self._process is not None else self.name

    @property
    def level(self) -> int:
        """The level at which its failures are logged."""
        return logging.DEBUG if self.in_crash_loop else logging.ERROR

    @property
    def runs(self) -> bool:
        """Whether there is a process."""
        return self._process is not None

    def remaining(self, now: float) -> float:
        """Return after how many seconds there is something to do."""
        return self._vigil.remaining if self.control is not None else self._due - now

    @property
    def listens(self) -> bool:
        """Whether the process takes messages: it has not hung up."""
        return self.control is not None

    def is_due(self, now: float) -> bool:
        """Tell whether the process is to be started now."""
        return self._process is None and now >= self._due

    def start(self, settings: Settings, now: float, launch: Launch = UNCONFINED) -> socket.socket:
        """Start the process; return our end of the control socket. Raises OSError."""
        with ExitStack() as passed:
            if launch.log is not None:
                passed.callback(os.close, launch.log)
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            passed.enter_context(theirs)
            try:
                self._process = self._spawn(theirs.fileno(), launch)
            except OSError:
                ours.close()
                raise
        self._restarts.started(now)
        self._replied = False
        self.control, self._outbox = ours, Outbox(ours)
        self._vigil, self._starvation = Vigil(self._policy), Starvation(self._process.pid)
        self._requests.clear()  # it reads everything anyway
        if now - self._confirmed < CONFIRMED:
            self._requests[Confirm] = Confirm()
        self.send(control.Begin(self.name, settings, launch.confinement))
        log.debug("%s: started", self)
        return ours

    def _spawn(self, end: int, launch: Launch) -> "subprocess.Popen[bytes]":
        view = launch.confinement.view
        return subprocess.Popen(
            [*self._command, str(end)],
            pass_fds=[end, *launch.held, *([] if view is None else [view])],
            stdin=subprocess.DEVNULL,
            stdout=None if launch.prints else subprocess.DEVNULL,
            stderr=launch.log,
            env=launch.environment,
        )

    def tend(self, now: float, passed: float) -> None:
        """Do what is due, after `passed` seconds in which the supervisor ran."""
        assert self._process is not None
        if self.control is None:
            if now >= self._due:
                self._process.kill()
                self._due = now + self._policy.stop_timeout
            return
        self._flush()
        self._vigil.spend(passed, self._starvation.since_last(passed) if self._vigil.asked else 0.0)
        match self._vigil.act():
            case Act.PING:
                self._ping()
            case Act.REPORT:
                silence = self._vigil.starved_silence
                log.warning("%s: no response for %.0f seconds, waiting for a CPU or a device", self, silence)
            case Act.DUMP:
                silence = self._vigil.silence
                log.log(self.level, "%s: stuck for %.0f seconds, dumping its stacks and killing it", self, silence)
                self._process.send_signal(signal.SIGUSR1)
            case Act.KILL:
                self._process.kill()

    def replied(self) -> None:
        """Note that every actor of the process has replied to a ping."""
        self._replied = self.was_in_order = True
        self._vigil.replied()
        self._send_requests()

    def request(self, message: Confirm | Reload, now: float) -> None:
        """Pass on a request of the operator; those of one kind that come while one is carried out become one.

        A process that ends may not have carried it out. Its successor reads everything, and is told of a confirmation.
        """
        if isinstance(message, Confirm):
            self._confirmed = now
        if self.control is not None:
            self._requests[type(message)] = message
            self._send_requests()

    def send(self, message: control.ControlMessage, end: socket.socket | None = None) -> None:
        """Send the process a message and an end of a link, if it runs; one that is about to end may miss it."""
        if self.control is not None:
            self._outbox.put(message, end)
            self._flush()
        elif end is not None:
            end.close()

    def kill(self) -> None:
        """Kill the process, if it runs."""
        if self._process is not None:
            self._process.kill()

    def has_recovered(self, now: float) -> bool:
        """Tell whether the process is in order, and has run for a period."""
        return self._replied and self._restarts.has_recovered(now)

    def count_end(self, now: float) -> int:
        """Count one more end; return how many there were since it had recovered, or the node began."""
        self._restarts.ended(now)
        return self._restarts.ends

    def restart_later(self, now: float, least: float = 0.0) -> float:
        """Return the seconds until the process is to be started again: the more, the more often it has ended."""
        delay = max(self._restarts.delay(), least)
        self._due = now + delay
        return delay

    def hung_up(self, now: float) -> None:
        """Note that the process has closed its end of the control socket: it ends, or is killed if it does not."""
        assert self.control is not None
        self._outbox.close()
        self.control.close()
        self.control = None
        self._due = now + self._policy.stop_timeout

    def reap(self) -> tuple[str, int] | None:
        """Return how a process that has hung up has ended, and its exit status; None if it has not ended yet."""
        if self._process is None or self.control is not None or (status := self._process.poll()) is None:
            return None
        how = f"killed by {signal.Signals(-status).name}" if status < 0 else f"exited with status {status}"
        description = f"{self}: {how}"
        self._process = None
        return description, status

    def stop(self) -> None:
        """Have the process stop, and wait until it has; kill it if that takes too long."""
        assert self._process is not None
        self.send(control.Stop())
        if not self._wait():
            log.error("%s: not stopped within %g seconds, killing it", self, self._policy.stop_timeout)
            self._process.kill()
            self._wait()
        if self.control is not None:
            self.hung_up(0)
        match self.reap():
            case None:
                log.error("%s: killed, but does not end, left behind", self)
                _left_behind.append(self._process)
            case description, status if status:
                log.warning("%s", description)

    def _wait(self) -> bool:
        """Wait for the end of the process; return whether it has ended in time."""
        assert self._process is not None
        try:
            self._process.wait(self._policy.stop_timeout)
        except subprocess.TimeoutExpired:
            return False
        return True

    def _ping(self) -> None:
        self._starvation.since_last(0)
        self.send(Ping())

    def _send_requests(self) -> None:
        """Send the requests, and a ping whose reply shows that they are carried out, unless one is unanswered."""
        if not self._requests or self._vigil.asked:
            return
        for message in self._requests.values():
            self.send(message)
        self._requests.clear()
        self._vigil.ask()
        if self._vigil.act() is Act.PING:
            self._ping()

    def _flush(self) -> None:
        try:
            self._outbox.flush()
        except OSError as error:
            log.debug("%s: a message was not delivered: %s", self, error)
