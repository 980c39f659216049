from typing import ClassVar

import pytest

from clusterf.etcd import endpoints as module
from clusterf.etcd.endpoints import Endpoints, first_answer
from clusterf.etcd.errors import EtcdError
from clusterf.etcd.location import EtcdLocation

NAMES = ("a:1", "b:1", "c:1")
LOCATION = EtcdLocation(endpoints=NAMES, prefix=b"/clusterf/")


class FakeClient:
    """A client of an endpoint that is reachable unless it is in `down`."""

    down: ClassVar[set[str]] = set()
    closed: ClassVar[list[str]] = []

    def __init__(self, location, endpoint, deadline):
        if endpoint in self.down:
            raise EtcdError(f"{endpoint}: unavailable: refused")
        self.endpoint = endpoint

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.closed.append(self.endpoint)


@pytest.fixture(autouse=True)
def clients(monkeypatch):
    monkeypatch.setattr(module, "Client", FakeClient)
    monkeypatch.setattr(FakeClient, "down", set())
    monkeypatch.setattr(FakeClient, "closed", [])
    return FakeClient


def fail(client):
    raise EtcdError("too late")


def test_each_endpoint_is_used_once_and_closed(clients):
    assert list(Endpoints(LOCATION).use(lambda _: None, lambda: True)) == []
    assert sorted(clients.closed) == list(NAMES)


def test_endpoints_are_shuffled():
    orders = {tuple(failure.endpoint for failure in Endpoints(LOCATION).use(fail, lambda: True)) for _ in range(200)}
    assert len(orders) == 6


def test_failures_name_the_endpoint_once(clients):
    clients.down = {"b:1"}
    (failure,) = Endpoints(LOCATION).use(lambda _: None, lambda: True)
    assert (failure.endpoint, failure.reason) == ("b:1", "unavailable: refused")


def test_failed_clients_are_closed(clients):
    assert [failure.reason for failure in Endpoints(LOCATION).use(fail, lambda: True)] == ["too late"] * 3
    assert sorted(clients.closed) == list(NAMES)


def test_no_further_endpoint_is_used_once_it_is_not_wanted(clients):
    used = []
    assert list(Endpoints(LOCATION, shuffle=False).use(used.append, lambda: len(used) < 2)) == []
    assert [client.endpoint for client in used] == ["a:1", "b:1"]


def test_first_answer_is_of_the_first_reachable_endpoint(clients):
    clients.down = {"a:1"}
    assert first_answer(LOCATION, lambda client: client.endpoint) == "b:1"
    assert clients.closed == ["b:1"]


def test_first_answer_may_be_empty():
    assert first_answer(LOCATION, lambda _: None) is None


def test_first_answer_fails_with_all_reasons(clients):
    clients.down = {"a:1", "c:1"}
    with pytest.raises(EtcdError, match=r"^a:1: unavailable: refused; too late; c:1: unavailable: refused$"):
        first_answer(LOCATION, fail)


def test_same_reason_is_given_once():
    with pytest.raises(EtcdError, match=r"^too late$"):
        first_answer(LOCATION, fail)
