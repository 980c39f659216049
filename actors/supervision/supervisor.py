"""The supervisor: starts the child processes of a node, and keeps them running.

Plain code without actors or threads, as what restarts the others must be the
last to fail. It waits for messages of the children, for signals and for its
own deadlines, whichever comes first, and for nothing else.

One child that ends is restarted, and only that one, after a back-off with
jitter. If children end more than `intensity` times within `period`, a restart
does not help: it stops all and gives up. Without some the others go on
(`actors.supervision.crashes`). A child that lives but does not reply
to pings is made to dump its stacks, and killed. When, says `actors.supervision.policy`.
"""

import errno
import logging
import selectors
import signal
import socket
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from types import MappingProxyType

import msgspec

from actors.base.messages import Confirm, Reload
from actors.node import Link
from actors.settings import DIRECTOR, Settings
from actors.supervision import control
from actors.supervision.child_process import ChildProcess
from actors.supervision.crashes import Crashes
from actors.supervision.launch import COMMAND, UNCONFINED, Launch
from actors.supervision.link_maker import LinkMaker
from actors.supervision.permits import permits
from actors.supervision.policy import Policy, RunningClock

__all__ = ["NO_POLICIES", "UPKEEP", "Supervisor"]

log = logging.getLogger(__name__)

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR2, signal.SIGCHLD)
UPKEEP = 2.0  # seconds
NO_POLICIES: Mapping[str, Policy] = MappingProxyType({})
# what is wrong with the installation when a child cannot be started: waiting changes nothing
_LASTING = frozenset({errno.ENOENT, errno.EACCES, errno.ENOEXEC, errno.ENOTDIR, errno.EPERM})


class Supervisor:
    """Runs the children called `names`, given in the order of the data flow.

    `command` runs a child; the number of its end of the control socket is added to it.
    `launch` returns how the child of a name is started, each time that it is.
    It keeps `links` connected between the children, and calls `upkeep` every UPKEEP seconds.
    `permits` tells what a child may say. `policies` are those of children that have one of their own.
    Without those called `dispensable` the others go on.
    """

    def __init__(
        self,
        names: Sequence[str],
        settings: Settings,
        policy: Policy,
        *,
        command: Sequence[str] = COMMAND,
        launch: Callable[[str], Launch] = lambda _: UNCONFINED,
        links: Sequence[Link] = (),
        upkeep: Callable[[], None] = lambda: None,
        permits: Callable[[str, control.ChildMessage, Settings], bool] = permits,
        policies: Mapping[str, Policy] = NO_POLICIES,
        dispensable: Collection[str] = (),
    ) -> None:
        self._settings = settings
        self._permits = permits
        self._policy = policy
        self._launch = launch
        self._upkeep = upkeep
        self._upkeep_due = 0.0
        self._children = [ChildProcess(name, policies.get(name, policy), command) for name in names]
        self._links = LinkMaker(links, {child.name: child for child in self._children}, policy.stuck_timeout)
        self._clock = RunningClock(min(each.beat for each in (policy, *policies.values())))
        self._crashes = Crashes(policy, dispensable)
        self._selector = selectors.DefaultSelector()
        self._signalled: set[int] = set()
        # whether any child could be started yet, and the reasons that were reported for those that cannot be
        self._launched = False
        self._unlaunched: dict[ChildProcess, str] = {}
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
            for number in _SIGNALS:
                signal.signal(number, lambda number, _: self._signalled.add(number))
            try:
                yield
            finally:
                signal.set_wakeup_fd(-1)

    def _step(self) -> None:
        """Wait for the next event or deadline, and handle it."""
        sleep = min([self._clock.beat, UPKEEP, *(child.remaining(self._clock.now) for child in self._children)])
        events = self._selector.select(max(0.0, sleep))
        passed = self._clock.advance(time.monotonic())
        for key, _ in events:
            if key.data is None:
                _drain(key.fileobj)
            else:
                self._handle_message(key.data)
        # after the messages, so that a node that has finished ends with the status of that
        self._handle_signals()
        for child in self._children:
            if self._status is not None:
                return
            self._tend(child, passed)
        self._links.tend(self._clock.now)
        if self._clock.now >= self._upkeep_due:
            self._upkeep_due = self._clock.now + UPKEEP
            self._upkeep()

    def _tend(self, child: ChildProcess, passed: float) -> None:
        """Start a child or have it tended; after its end, have it started again later."""
        now = self._clock.now
        if child.is_due(now):
            self._start(child)
        elif (end := child.reap()) is not None:
            if self._crashes.ended(child, end[0], now):
                self._status = 1
        elif child.runs:
            child.tend(now, passed)
            self._crashes.tend(child, now)

    def _start(self, child: ChildProcess) -> None:
        try:
            connection = child.start(self._settings, self._clock.now, self._launch(child.name))
        except OSError as error:
            self._not_launched(child, error)
            return
        self._launched = True
        self._links.started(child)
        if self._unlaunched.pop(child, None) is not None:
            log.info("%s: started, at last", child)
        self._selector.register(connection, selectors.EVENT_READ, child)

    def _not_launched(self, child: ChildProcess, error: OSError) -> None:
        """Have a child that could not be started tried again for ever, unless it never can be."""
        if error.errno in _LASTING and not self._launched:
            log.error("%s: cannot be started: %s", child, error)
            self._status = 1
            return
        child.restart_later(self._clock.now)
        if self._unlaunched.get(child) != str(error):
            self._unlaunched[child] = str(error)
            log.error("%s: cannot be started: %s, retrying", child, error)
        # (otherwise the director gives up, which may be what cannot be started)
        if self._settings.once and self._clock.now > self._settings.once_timeout:
            log.error("--once: not applied within %g seconds, giving up", self._settings.once_timeout)
            self._status = 1

    def _handle_signals(self) -> None:
        signalled, self._signalled = self._signalled, set()
        if signal.SIGHUP in signalled:
            log.info("reloading")
            self._request(Reload())
        if signal.SIGUSR2 in signalled:
            self._request(Confirm())
        if signalled & {signal.SIGTERM, signal.SIGINT} and self._status is None:
            directs = any(child.name == DIRECTOR for child in self._children)
            log.info("stopping; the table stays as it is" if directs else "stopping")
            # with --once the node would have ended by itself, had all been applied
            self._status = 1 if self._settings.once else 0

    def _request(self, message: Confirm | Reload) -> None:
        for child in self._children:
            child.request(message, self._clock.now)

    def _handle_message(self, child: ChildProcess) -> None:
        assert child.control is not None
        try:
            message = control.receive_from_child(child.control)
        except BlockingIOError:
            return
        except (OSError, msgspec.DecodeError) as error:
            log.log(child.level, "%s: invalid message: %s", child, error)
            message = None
        if message is not None and not self._permits(child.name, message, self._settings):
            log.log(child.level, "%s: invalid message: %s is not for it to send", child, type(message).__name__)
            message = None
        match message:
            case control.Pong():
                child.replied()
            case control.Finished(status):
                self._status = status
            case control.LinkLost():
                self._links.lost(child, message, self._clock.now)
            case control.Flushed():
                self._settings = msgspec.structs.replace(self._settings, flush=False)
            case _:  # it has hung up: it is gone, or about to be
                self._selector.unregister(child.control)
                child.hung_up(self._clock.now)

    def _stop_all(self) -> None:
        """Stop the children against the flow, so that what a stopped one no longer sends is not taken for deleted."""
        for child in reversed(self._children):
            if child.runs:
                child.stop()
        self._selector.close()


def _drain(reader: object) -> None:
    """Empty the socket by which signals wake the selector."""
    assert isinstance(reader, socket.socket)
    with suppress(BlockingIOError):
        while reader.recv(4096):
            pass
