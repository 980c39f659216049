import threading
from queue import SimpleQueue

import pytest

from clusterf.docker.engine import EngineError
from clusterf.docker.query_pool import QueryPool, Result


class FakeConnection:
    def __init__(self):
        self.closed = threading.Event()

    def close(self):
        self.closed.set()


class Pool:
    """A pool whose results are in `results`."""

    def __init__(self, workers=1):
        self.connections = []
        self.errors = []
        self.results = SimpleQueue()
        self.queries = QueryPool(self.connect, self.results.put, workers)

    def connect(self):
        if self.errors:
            raise EngineError(self.errors.pop())
        self.connections.append(FakeConnection())
        return self.connections[-1]

    def ask(self, key, query=lambda _: None, *, urgent=True):
        self.queries.ask(key, query, urgent=urgent)

    def result(self):
        return self.results.get(timeout=10)


@pytest.fixture
def pool():
    pool = Pool()
    yield pool
    pool.queries.close()


def test_answer_is_delivered_under_its_key(pool):
    pool.queries.start()
    pool.ask("k", lambda engine: engine)
    result = pool.result()
    assert (result.key, result.answer, result.error) == ("k", pool.connections[0], None)
    assert pool.queries.is_pending("k")
    assert pool.queries.accept(result)
    assert not pool.queries.is_pending("k")


def test_error_of_a_query_is_delivered_and_the_worker_goes_on(pool):
    def fail(_):
        raise EngineError("no such thing")

    pool.queries.start()
    pool.ask("bad", fail)
    pool.ask("good", lambda _: 7)
    assert str(pool.result().error) == "no such thing"
    assert pool.result().answer == 7


def test_failed_connection_is_retried_by_the_next_query(pool):
    pool.errors.append("refused")
    pool.queries.start()
    pool.ask("k")
    assert str(pool.result().error) == "refused"
    pool.ask("k", lambda _: 7)
    assert pool.result().answer == 7


def test_urgent_queries_are_run_first_each_kind_in_order(pool):
    for number in range(3):
        pool.ask(("later", number), urgent=False)
        pool.ask(("urgent", number))
    pool.queries.start()
    order = [pool.result().key for _ in range(6)]
    assert order == [*(("urgent", n) for n in range(3)), *(("later", n) for n in range(3))]


def test_repeated_query_is_run_once_by_its_last_request(pool):
    pool.ask("k", lambda _: "stale", urgent=False)
    pool.ask("other", lambda _: "other", urgent=False)
    pool.ask("k", lambda _: "fresh", urgent=False)
    pool.queries.start()
    results = [pool.result() for _ in range(2)]
    assert [(result.key, result.answer) for result in results] == [("other", "other"), ("k", "fresh")]
    assert all(pool.queries.accept(result) for result in results)


def test_answer_to_a_query_that_was_repeated_meanwhile_is_stale(pool):
    asked, proceed = threading.Event(), threading.Event()

    def slow(_):
        asked.set()
        proceed.wait(10)
        return "stale"

    pool.queries.start()
    pool.ask("k", slow)
    assert asked.wait(10)
    pool.ask("k", lambda _: "fresh")
    proceed.set()
    stale, fresh = pool.result(), pool.result()
    assert (stale.answer, fresh.answer) == ("stale", "fresh")
    assert not pool.queries.accept(stale)
    assert pool.queries.is_pending("k")
    assert pool.queries.accept(fresh)
    assert not pool.queries.accept(fresh)


def test_unknown_result_is_not_accepted(pool):
    assert not pool.queries.accept(Result("k", 0, None, None))


def test_slow_query_delays_no_other_worker():
    pool = Pool(workers=2)
    held = threading.Event()
    pool.queries.start()
    pool.ask("slow", lambda _: held.wait(10))
    pool.ask("quick")
    assert pool.result().key == "quick"
    held.set()
    assert pool.result().key == "slow"
    pool.queries.close()


def test_close_ends_the_workers_and_their_connections():
    pool = Pool(workers=2)
    started = threading.Barrier(2)
    pool.queries.start()
    for key in ("a", "b"):
        pool.ask(key, lambda _: started.wait(10))
    for _ in range(2):
        pool.result()
    pool.queries.close()
    assert all(connection.closed.wait(10) for connection in pool.connections)
    assert len(pool.connections) == 2
