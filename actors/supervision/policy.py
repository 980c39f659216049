"""How patient the supervisor is: when it pings a child, takes it for stuck, restarts it, and gives up.

Without processes or sockets. Time is an argument, in seconds: that of a clock
which counts only while the supervisor ran (`RunningClock`), so that a machine,
or a supervisor, that was paused or starved finds nobody stuck.
"""

from collections import deque
from enum import Enum, auto
from typing import NamedTuple

from clusterf.lib.backoff import Backoff

__all__ = ["Act", "Exits", "Policy", "Restarts", "RunningClock", "Vigil"]

DUMP_TIME = 1.0  # seconds in which a stuck child dumps its stacks before it is killed, at most
# what `Policy.within` gives the steps from a hang to the next life, as parts of the whole; about as much is left for
# the time since the process last showed that it lives, and for its start
FOUND, DUMPED, DELAYED = 1 / 4, 1 / 20, 1 / 10


class Policy(NamedTuple):
    """How patient the supervisor is. All but `intensity` are seconds.

    The node gives up after more than `intensity` exits of children that it cannot do
    without within `period`; for the others see `actors.supervision.crashes`. `start_timeout` is
    for the first reply of a child to a ping, `stuck_timeout` for the others.
    """

    intensity: int = 10
    period: float = 60.0
    stuck_timeout: float = 30.0
    stop_timeout: float = 15.0
    start_timeout: float = 30.0
    first_delay: float = 0.1
    longest_delay: float = 5.0
    dump_time: float = DUMP_TIME

    def within(self, seconds: float) -> "Policy":
        """Return it for a child that may not be missing for `seconds`, from its last sign of life to the next one's."""
        longest = min(self.longest_delay, seconds * DELAYED)
        return self._replace(
            stuck_timeout=min(self.stuck_timeout, seconds * FOUND),
            dump_time=min(self.dump_time, seconds * DUMPED),
            first_delay=min(self.first_delay, longest),
            longest_delay=longest,
        )

    @property
    def beat(self) -> float:
        """The longest that the supervisor sleeps; what a sleep takes beyond it is time in which it did not run."""
        return self.stuck_timeout / 16


class RunningClock:
    """A clock that stands still while the supervisor, perhaps the whole machine, does not run."""

    def __init__(self, beat: float) -> None:
        """Start at 0. The supervisor promises to come back after `beat` seconds at the latest."""
        self.now = 0.0
        self.beat = beat
        self._last: float | None = None

    def advance(self, monotonic: float) -> float:
        """Return the seconds that count since the call before; `monotonic` is the time now of a clock of the system."""
        passed = 0.0 if self._last is None else min(max(0.0, monotonic - self._last), self.beat)
        self._last = monotonic
        self.now += passed
        return passed


class Act(Enum):
    """What is to be done with a process: ping it, report it as starved, have it dump its stacks, or kill it."""

    PING = auto()
    REPORT = auto()
    DUMP = auto()
    KILL = auto()


class Vigil:
    """The watch on one life of a process. It is stuck if it was asked, had the time, and did not reply."""

    def __init__(self, policy: Policy) -> None:
        self._timeout = policy.stuck_timeout
        self._dump_time = policy.dump_time
        # seconds that the process has had, and what they were when it last replied, and when it is next to be pinged
        self._had = 0.0
        # the first reply has to wait until the modules are loaded and the actors have started
        self._replied = max(0.0, policy.start_timeout - policy.stuck_timeout)
        self._ping_due = 0.0
        # since the last reply: seconds that do not count, as it was starved, and whether that was reported
        self._starved = 0.0
        self._reported = False
        # when to kill it, once it was found stuck
        self._kill_due: float | None = None
        # whether a ping is unanswered
        self.asked = False

    @property
    def silence(self) -> float:
        """For how many seconds it has not replied, of those that it had."""
        return self._had - self._replied

    @property
    def starved_silence(self) -> float:
        """For how many seconds it has not replied, with those in which it was starved."""
        return self.silence + self._starved

    @property
    def remaining(self) -> float:
        """After how many seconds `act` has next something to do, at the earliest."""
        if self._kill_due is not None:
            return self._kill_due - self._had
        return self._timeout - self.silence if self.asked else self._ping_due - self._had

    def spend(self, seconds: float, starved: float = 0.0) -> None:
        """Count time in which the supervisor ran; for so much of it the process waited for a CPU or a device."""
        self._had += max(0.0, seconds - starved)
        self._starved += min(seconds, starved)

    def act(self) -> Act | None:
        """Return what is to be done now. A ping counts as asked from here on."""
        if self._kill_due is not None:
            if self._had < self._kill_due:
                return None
            self._kill_due = self._had + self._dump_time  # it ends when the kernel lets it
            return Act.KILL
        if self.asked:
            if self.silence < self._timeout:
                return self._report()
            self._kill_due = self._had + self._dump_time
            return Act.DUMP
        if self._had < self._ping_due:
            return None
        self.asked = True
        return Act.PING

    def _report(self) -> Act | None:
        """Have a silence reported, once, that is excused only as the process is starved."""
        if self._reported or self.starved_silence < self._timeout:
            return None
        self._reported = True
        return Act.REPORT

    def ask(self) -> None:
        """Have it pinged at once, if no ping is unanswered."""
        self._ping_due = self._had

    def replied(self) -> None:
        """Note a reply to the ping."""
        self._replied, self._starved, self._reported = self._had, 0.0, False
        self._ping_due = self._had + self._timeout / 4
        self.asked = False


class Restarts:
    """The delays before one child is started again: the longer, the more often it has ended."""

    def __init__(self, policy: Policy) -> None:
        self._period = policy.period
        self._backoff = Backoff(policy.first_delay, policy.longest_delay)
        self._started = 0.0
        # how often it has ended since a life of a period
        self.ends = 0

    def started(self, now: float) -> None:
        """Note a start."""
        self._started = now

    def has_recovered(self, now: float) -> bool:
        """Tell whether the life that began last has lasted for a period, if it has not ended."""
        return now - self._started > self._period

    def ended(self, now: float) -> None:
        """Note an end. A life of a period is taken for a recovery."""
        if self.has_recovered(now):
            self._backoff.reset()
            self.ends = 0
        self.ends += 1

    def delay(self) -> float:
        """Return the seconds until the next start, or attempt to."""
        return self._backoff.next()


class Exits:
    """The ends of the children that a node cannot do without, which tell whether restarts help."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._ends: deque[float] = deque()

    def __len__(self) -> int:
        """Return how many there were within the last period."""
        return len(self._ends)

    def add(self, now: float) -> bool:
        """Note the end of a child; return whether the node is to give up."""
        self._ends.append(now)
        while self._ends[0] < now - self._policy.period:
            self._ends.popleft()
        return len(self._ends) > self._policy.intensity
