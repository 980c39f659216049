import errno
import os
import sys

import pytest

from actors.base.messages import Reload
from actors.director import table_printer
from actors.director.table_printer import TablePrinter
from clusterf.director.merger import RealServerWanted
from tests.actors.support.writing import (
    real,
    table,
    virtual,
    weighing,
)
from tests.waiting import wait_until


def test_table_is_printed_after_each_apply_with_an_empty_line(writing, capsys):
    writing.start(print_table=True).want(v2={10: 1, 9: 1}, v1={}).settled()
    writing.want(RealServerWanted(virtual(2), real(9), weighing(2))).settled()
    writing.want().settled()
    first = "-A -t 10.1.1.1:80 -s wlc\n-A -t 10.1.1.2:80 -s wlc\n-a -t 10.1.1.2:80 -r 10.2.2.10:80 -m -w 1\n"
    assert capsys.readouterr().out == (
        f"{first}-a -t 10.1.1.2:80 -r 10.2.2.9:80 -m -w 1\n\n{first}-a -t 10.1.1.2:80 -r 10.2.2.9:80 -m -w 2\n\n"
    )


def test_unchanged_table_is_printed_once(writing, kernel, capsys):
    kernel.table = table(v1={})
    writing.start(print_table=True).want(v1={}).settled()
    writing.ref.tell(Reload())
    writing.settled()
    assert capsys.readouterr().out == "-A -t 10.1.1.1:80 -s wlc\n\n"


def test_table_is_printed_without_an_empty_line_with_once(writing, capsys):
    writing.start(print_table=True, once=True).want(v1={1: 10}).settled()
    assert capsys.readouterr().out == "-A -t 10.1.1.1:80 -s wlc\n-a -t 10.1.1.1:80 -r 10.2.2.1:80 -m -w 10\n"


def test_closed_standard_output_stops_the_printing_only(writing, kernel, monkeypatch, caplog):
    class Closed:
        def write(self, text):
            raise BrokenPipeError(errno.EPIPE, "Broken pipe")

        def flush(self):
            pass

    monkeypatch.setattr(sys, "stdout", Closed())
    writing.start(print_table=True).want(v1={}).settled()
    writing.want(v2={}).settled()
    assert caplog.text.count("Broken pipe") == 1
    assert kernel.table == table(v1={}, v2={})


@pytest.mark.parametrize(("number", "status"), [(errno.ENOSPC, 1), (errno.EPIPE, 0)])
def test_table_that_cannot_be_written_gives_exit_status_1_with_once(writing, monkeypatch, number, status):
    class Full:
        def write(self, text):
            raise OSError(number, os.strerror(number))

        def flush(self):
            pass

    monkeypatch.setattr(sys, "stdout", Full())
    writing.start(print_table=True, once=True).want(v1={})
    assert wait_until(lambda: writing.finished) == [status]


def test_unreadable_table_is_logged_and_printed_after_the_next_change(kernel, capsys, caplog):
    printer = TablePrinter(kernel, enabled=True, separate=False)
    kernel.breaks = [OSError(errno.EIO, "Input/output error")]
    printer.print()
    printer.print()
    assert caplog.messages == ["ipvs: the table cannot be read for printing: Input/output error"]
    kernel.table = table(v1={})
    printer.changed()
    printer.print()
    assert capsys.readouterr().out == "-A -t 10.1.1.1:80 -s wlc\n"


def test_standard_output_that_nobody_reads_stops_the_printing(kernel, monkeypatch, caplog):
    reader, writer = os.pipe()
    monkeypatch.setattr(table_printer, "PATIENCE", 0.05)
    with os.fdopen(writer, "w") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        printer = TablePrinter(kernel, enabled=True, separate=False)
        kernel.table = table(**{f"v{n}": dict.fromkeys(range(1, 30), 1) for n in range(1, 100)})
        for _ in range(2):
            printer.changed()
            printer.print()
        printer.close()
    os.close(reader)
    assert caplog.messages == ["standard output: not read for 0.05 seconds; printing stopped"]
