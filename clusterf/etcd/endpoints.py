"""The endpoints of one etcd cluster, tried one after the other."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, TypeVar

from clusterf.etcd.client import DEADLINE, Client
from clusterf.etcd.errors import EtcdError
from clusterf.etcd.location import EtcdLocation
from clusterf.lib.jitter import shuffled

__all__ = ["EndpointFailure", "Endpoints", "first_answer"]

T = TypeVar("T")


class EndpointFailure(NamedTuple):
    """What the use of an endpoint ended with."""

    endpoint: str
    error: EtcdError

    @property
    def reason(self) -> str:
        """The text of the error without the endpoint."""
        return str(self.error).removeprefix(f"{self.endpoint}: ")


class Endpoints:
    """Connects to the endpoints of `location`, by default in a random order: that spreads nodes over the members.

    A call may take `deadline` seconds.
    """

    def __init__(self, location: EtcdLocation, *, deadline: float = DEADLINE, shuffle: bool = True) -> None:
        self._location = location
        self._deadline = deadline
        self._order: Sequence[str] = shuffled(location.endpoints) if shuffle else location.endpoints

    def connect(self, endpoint: str) -> Client:
        """Return a client of one endpoint. Raises EtcdError."""
        return Client(self._location, endpoint, self._deadline)

    def use(self, act: Callable[[Client], object], wanted: Callable[[], bool]) -> Iterator[EndpointFailure]:
        """Call `act` with a client of one endpoint after the other, each once, while `wanted()`; yield the failures."""
        for endpoint in self._order:
            if not wanted():
                return
            try:
                with self.connect(endpoint) as client:
                    act(client)
            except EtcdError as error:
                yield EndpointFailure(endpoint, error)


def first_answer(location: EtcdLocation, ask: Callable[[Client], T]) -> T:
    """Return what `ask` returns at the first endpoint at which it does not fail.

    Raises EtcdError with the reason of each endpoint if all fail.
    """
    answers: list[T] = []
    endpoints = Endpoints(location, shuffle=False)
    failures = endpoints.use(lambda client: answers.append(ask(client)), lambda: not answers)
    reasons = dict.fromkeys(str(failure.error) for failure in failures)
    if not answers:
        raise EtcdError("; ".join(reasons))
    return answers[0]
