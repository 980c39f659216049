"""Histories made by hand, for tests of the judge."""

from collections.abc import Mapping

from tests.soak.history import Action, Calm, Change, Configuration, History, Request, Sampling, Server

__all__ = ["ONE", "REALS", "WEB", "Story"]

WEB = "10.107.0.1:80/tcp"
REALS = [f"10.3.1.{number}:8080" for number in range(1, 5)]
ONE = REALS[0]


class Story:
    """A history in which each thing is done within 10 ms; all times are in seconds."""

    def __init__(self) -> None:
        self.history = History(begin=0, end=1000, sampling=Sampling(1000, 1000, 0.01))

    def wants(self, time: float, weights: Mapping[str, int], virtual: str = WEB, text: str = "edit") -> None:
        """Configure one virtual server."""
        backends = {real: frozenset([real.rpartition(":")[0]]) for real in weights}
        configuration = Configuration(time, time + 0.01, text, {virtual: dict(weights)}, {virtual: backends})
        self.history.configurations.append(configuration)

    def shows(self, time: float, weights: Mapping[str, int] | None, virtual: str = WEB) -> None:
        """Have a sample show the state of a virtual server."""
        reals = {real: Server(weight) for real, weight in (weights or {}).items()}
        self.history.changes.append(Change(time - 0.01, time, virtual, None if weights is None else "wlc", reals))

    def fault(self, begin: float, end: float, kind: str = "kill a child") -> None:
        """Have a fault."""
        self.history.actions.append(Action(begin, end, "fault", kind))

    def act(self, time: float, kind: str, subject: str, text: str = "") -> None:
        """Do something else."""
        self.history.actions.append(Action(time, time + 0.01, kind, subject, text))

    def health(self, time: float, real: str, mode: str) -> None:
        """Have the backend of a real server behave so from now on."""
        self.act(time, "health", real.rpartition(":")[0], mode)

    def calm(self, time: float, text: str = "", kind: str = "exact") -> None:
        """Have a calm end."""
        self.history.calms.append(Calm(time, time + 0.01, kind, text))

    def request(self, begin: float, end: float, virtual: str = WEB) -> None:
        """Have a request fail."""
        self.history.requests.append(Request(begin, end, virtual, "timeout"))
