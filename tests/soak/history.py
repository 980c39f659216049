"""What is recorded of a soak, by everyone who takes part in it; the judge reads nothing else.

All times are of the monotonic clock, in seconds. What takes time has two: it was
done after `begin` and before `end`.
"""

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import msgspec

__all__ = [
    "Action",
    "Busy",
    "Calm",
    "Change",
    "Configuration",
    "History",
    "LogLine",
    "Real",
    "Recorder",
    "Request",
    "Sampling",
    "Server",
    "Virtual",
    "as_text",
]

Virtual = str
"""A virtual server, as in `10.107.0.1:80/tcp`."""
Real = str
"""A real server, as in `10.3.1.1:8080`."""


class Server(msgspec.Struct, frozen=True):
    """A real server in a table: its weight, and all other settings as text."""

    weight: int
    rest: str = ""


class Change(msgspec.Struct, frozen=True, tag=True):
    """What a sample shows of one virtual server, where it differs from the sample before; None: it is gone.

    It happened after `begin`, at which the sample before was begun, and before `end`.
    """

    begin: float
    end: float
    virtual: Virtual
    settings: str | None
    reals: dict[Real, Server]


class Busy(msgspec.Struct, frozen=True, tag=True):
    """A time in which somebody was starved of CPU: the whole `kernel`, the `servers` or the `clients`."""

    begin: float
    end: float
    who: str


class Sampling(msgspec.Struct, frozen=True, tag=True):
    """How the table was sampled: how often, when last, and the longest time between two samples in seconds."""

    samples: int
    end: float
    longest: float


class Configuration(msgspec.Struct, frozen=True):
    """The configuration from an edit on: which backends, by address, make the real servers of virtual servers.

    `weights` has each real server's weight when all of its backends are in rotation.
    """

    begin: float
    end: float
    text: str
    weights: dict[Virtual, dict[Real, int]]
    backends: dict[Virtual, dict[Real, frozenset[str]]]


class Action(msgspec.Struct, frozen=True):
    """Something that was done to the node, its surroundings, or its table; `subject` is whom it concerns.

    Kinds: `fault` (subject: its kind), `hand` (a virtual server of ours that was changed by hand),
    `foreign` (a virtual server of others; `text` is its whole state from then on, empty: none),
    `restart` (of the node, in a calm), `confirm` (of the etcd, likewise), `exit` (of the node by itself, its status),
    `health` (the address of a backend; `text` is `healthy`, or how it fails).
    """

    begin: float
    end: float
    kind: str
    subject: str
    text: str = ""


class Request(msgspec.Struct, frozen=True, tag=True):
    """A request that failed, and why."""

    begin: float
    end: float
    virtual: Virtual
    reason: str


class LogLine(NamedTuple):
    """A line that a node has logged, and when it was read."""

    time: float
    text: str


class Calm(msgspec.Struct, frozen=True):
    """A time in which nothing was done; `kind` says what has to hold: `exact` or `silent`.

    `text` is empty, or says what did not hold.
    """

    begin: float
    end: float
    kind: str
    text: str = ""


class History(msgspec.Struct):
    """All that is recorded of a soak, each list in the order of time."""

    seed: int = 0
    begin: float = 0.0
    end: float = 0.0
    changes: list[Change] = []
    sampling: Sampling = Sampling(0, 0.0, 0.0)
    configurations: list[Configuration] = []
    actions: list[Action] = []
    requests: list[Request] = []
    answered: int = 0
    log: list[LogLine] = []
    calms: list[Calm] = []
    busy: list[Busy] = []


class Recorder:
    """Collects what threads record of what they do."""

    def __init__(self, seed: int) -> None:
        self._lock = threading.Lock()
        self.history = History(seed=seed, begin=time.monotonic())

    def act(self, kind: str, subject: str, text: str, act: Callable[[], object]) -> None:
        """Do something, and record it also if it fails."""
        begin = time.monotonic()
        try:
            act()
        finally:
            self.action(begin, kind, subject, text)

    def action(self, begin: float, kind: str, subject: str, text: str = "") -> None:
        """Record what was begun at `begin`, and ends now."""
        with self._lock:
            self.history.actions.append(Action(begin, time.monotonic(), kind, subject, text))

    def configured(self, configuration: Configuration) -> None:
        """Record a new configuration."""
        with self._lock:
            self.history.configurations.append(configuration)

    def calm(self, calm: Calm) -> None:
        """Record a time in which nothing was done."""
        with self._lock:
            self.history.calms.append(calm)

    def logged(self, text: str) -> None:
        """Record a line that a node has logged now."""
        with self._lock:
            self.history.log.append(LogLine(time.monotonic(), text))

    def finish(self, seen: Iterable[Change | Sampling | Request | Busy], answered: int) -> History:
        """Return the history, with what other processes have recorded."""
        with self._lock:
            whole = self.history
            whole.end = time.monotonic()
            whole.answered = answered
            for one in sorted(seen, key=lambda one: one.end):
                match one:
                    case Change():
                        whole.changes.append(one)
                    case Request():
                        whole.requests.append(one)
                    case Busy():
                        whole.busy.append(one)
                    case Sampling():
                        whole.sampling = one
            whole.actions.sort(key=lambda action: action.begin)
            return whole


def as_text(settings: str | None, reals: Mapping[Real, Server]) -> str:
    """Return the state of a virtual server as text, empty if it is gone."""
    if settings is None:
        return ""
    return " ".join([settings, *(f"{real}={server.weight}/{server.rest}" for real, server in sorted(reals.items()))])
