import errno
import os

import pytest

from actors.director.found_table import FoundTable, logging_errors
from tests.actors.support.writing import table, virtual


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr("actors.director.found_table.time.monotonic", lambda: now[0])
    return now


class Kernel:
    def __init__(self, *answers):
        self.answers = list(answers)

    def read(self):
        answer = self.answers.pop(0)
        if isinstance(answer, int):
            raise OSError(answer, os.strerror(answer))
        return answer


def test_table_is_read_once():
    found = FoundTable(Kernel(table(v1={1: 1})).read)
    for _ in range(2):
        assert found.awaited() == 0
        assert found.table == table(v1={1: 1})
    found.forget()
    assert found.awaited() == 0
    assert found.table == table()


def test_failure_is_logged_and_the_table_is_read_again_when_it_is_time(clock, caplog):
    kernel = Kernel(errno.ENOBUFS, table(v1={}))
    found = FoundTable(kernel.read)
    delay = found.awaited()
    assert delay > 0
    assert caplog.messages == [f"ipvs: No buffer space available: rereading the table, retrying in {delay:.1f} seconds"]
    clock[0] += delay / 2
    assert found.awaited() == pytest.approx(delay / 2)
    assert len(kernel.answers) == 1
    clock[0] += delay
    assert found.awaited() == 0
    assert found.table == table(v1={})


def test_other_errors_are_those_of_the_caller():
    def read():
        raise RuntimeError

    with pytest.raises(RuntimeError):
        FoundTable(read).awaited()


def test_virtual_server_that_cannot_be_read_is_reported_and_none(caplog):
    def read(_):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    assert logging_errors(read)(virtual(1)) is None
    assert caplog.messages == ["ipvs: 10.1.1.1:80/tcp: cannot be read, treated as new: Input/output error"]
    assert logging_errors(lambda _: ("settings", {}))(virtual(1)) == ("settings", {})
