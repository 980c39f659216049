import pytest
from hypothesis import given
from hypothesis import strategies as st

from clusterf.etcd.stubs import etcdrpc
from clusterf.etcd.transactions import BYTES, OPERATIONS, batches, delete_operation, put_operation, unleased


def writes(number, size=1):
    return [(b"%d" % path, b"x" * size) for path in range(number)]


@given(st.lists(st.none() | st.integers(0, 400_000), max_size=10))
def test_batches_hold_all_writes_in_order_and_fit_into_a_transaction(sizes):
    all_of_them = [(b"%d" % path, None if size is None else b"x" * size) for path, size in enumerate(sizes)]
    found = list(batches(all_of_them))
    assert [write for batch in found for write in batch] == all_of_them
    assert all(sum(len(value or b"") for _, value in batch) <= BYTES for batch in found)
    assert all(found)


def test_batch_has_as_many_operations_as_etcd_takes():
    assert [len(batch) for batch in batches(writes(2 * OPERATIONS + 1))] == [OPERATIONS, OPERATIONS, 1]


def test_batches_are_filled_up_to_the_limit_of_bytes():
    assert [len(batch) for batch in batches(writes(6, size=BYTES // 3 - 1000))] == [3, 3]


def test_write_that_exceeds_the_limit_is_alone_in_its_batch():
    assert [len(batch) for batch in batches(writes(2, size=2 * BYTES))] == [1, 1]


def test_first_batch_needs_only_the_writes_that_it_has():
    def endless():
        while True:
            yield b"key", b"value"

    assert len(next(batches(endless()))) == OPERATIONS


def test_nothing_to_write_makes_no_batch():
    assert list(batches([])) == []


@pytest.mark.parametrize("operation", [put_operation(b"a", b"1"), delete_operation(b"a")])
def test_operation_on_a_key_without_a_lease_has_that_as_its_condition(operation):
    guarded = unleased(operation).request_txn
    (condition,) = guarded.compare
    assert (condition.key, condition.target, condition.result) == (b"a", etcdrpc.Compare.LEASE, etcdrpc.Compare.EQUAL)
    assert condition.lease == 0
    assert (list(guarded.success), list(guarded.failure)) == ([operation], [])
