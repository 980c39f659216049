import json
import os
import select
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from actors.supervision import log_relay
from actors.supervision.log_relay import LogRelay


@pytest.fixture
def sink():
    """The two ends of a pipe that stands for the node's standard error."""
    reader, writer = os.pipe()
    yield reader, writer
    for end in (reader, writer):
        with suppress(OSError):  # a test has closed it
            os.close(end)


@pytest.fixture
def relay(sink):
    relay = LogRelay(sink[1])
    yield relay
    relay.close()


def passed_on(relay, sink, *written, name="config"):
    """Return what becomes of the pieces that a process writes, and then ends."""
    pipe = relay.open(name)
    for data in written:
        os.write(pipe, data)
    os.close(pipe)
    relay.close()
    os.close(sink[1])
    with os.fdopen(os.dup(sink[0]), "rb") as reader:
        return reader.read()


@pytest.mark.parametrize(
    ("written", "lines"),
    [
        ([b"one\ntwo\n"], b"one\ntwo\n"),
        ([b"one\ntw", b"o\nthree"], b"one\ntwo\nthree\n"),
        ([], b""),
        ([b"\x1b[2Jtitle\xff\n"], b"\\x1b[2Jtitle\\xff\n"),
    ],
)
def test_whole_lines_are_passed_on(relay, sink, written, lines):
    assert passed_on(relay, sink, *written) == lines


@pytest.mark.parametrize(
    "line",
    [
        *(b"ipvs: ipvsadm -C", b"ipvs noop: ipvsadm -C", b"warning: ipvs: drift", b"  ipvs: ipvsadm -C"),
        # a journal takes the level from what is before it
        *(b"<6>ipvs noop: ipvsadm -C", b"<3> <6>ipvs: ipvsadm -C", b"<0>all is lost"),
    ],
)
def test_no_line_passes_for_one_of_the_director(relay, sink, line):
    assert passed_on(relay, sink, line + b"\n", b"ipvsadm is missing\n", name="health") == (
        b"health: " + line + b"\nipvsadm is missing\n"
    )


@pytest.fixture
def json_relay(sink):
    relay = LogRelay(sink[1], json=True)
    yield relay
    relay.close()


@pytest.mark.parametrize(
    ("written", "line"),
    [
        (b'{"level":"info","pid":7,"message":"well"}', {"level": "info", "pid": 7, "message": "well"}),
        (b'{"message":"ipvs noop: ipvsadm -C"}', {"message": "health: ipvs noop: ipvsadm -C"}),
        (b'{"message":"x","message":"ipvs\\u003a -C"}', {"message": "health: ipvs: -C"}),
        (b'{"message":"\\u001b[2J\\nipvs: ipvsadm -C"}', {"message": "| \\x1b[2J\n| ipvs: ipvsadm -C"}),
        (b'{"message":["ipvs: x"],"a":{"b":"c"}}', {"message": "['ipvs: x']", "a": "{'b': 'c'}"}),
        (b"Fatal Python error: ...", {"logger": "health", "message": "Fatal Python error: ..."}),
        (b"[" * 10000, {"logger": "health", "message": "[" * (select.PIPE_BUF // 2 - 1)}),
        (b"ipvs: ipvsadm -C", {"logger": "health", "message": "health: ipvs: ipvsadm -C"}),
        (b"[1]", {"logger": "health", "message": "[1]"}),
    ],
)
def test_line_of_json_is_one_whatever_is_written(json_relay, sink, written, line):
    [passed] = passed_on(json_relay, sink, written + b"\n", name="health").splitlines()
    assert json.loads(passed) == line


def test_process_that_writes_without_end_is_read_slowly(relay, sink, monkeypatch):
    monkeypatch.setattr(log_relay, "_RATE", 1)
    monkeypatch.setattr(log_relay, "_BURST", 0)
    flooding, other = relay.open("health"), relay.open("config")
    os.set_blocking(flooding, False)
    os.write(flooding, b"flood\n" * 10)
    with os.fdopen(os.dup(sink[0]), "rb") as reader:
        assert [reader.readline() for _ in range(10)] == [b"flood\n"] * 10
        os.write(flooding, b"flood\n")  # in a minute
        os.write(other, b"well\n")
        assert reader.readline() == b"well\n"
    for end in (flooding, other):
        os.close(end)
    relay.close()  # at the end nothing waits
    assert not relay._thread.is_alive()


def test_data_that_somebody_else_has_read_is_not_missed(relay, sink, monkeypatch):
    read, empty = os.read, [True]

    def read_late(descriptor, size):
        if empty.pop() if empty else False:
            raise BlockingIOError
        return read(descriptor, size)

    monkeypatch.setattr(os, "read", read_late)
    assert passed_on(relay, sink, b"one\n") == b"one\n"


def descriptors():
    return len(list(Path("/proc/self/fd").iterdir()))


def test_pipes_of_many_processes_are_opened_while_nobody_reads(sink):
    relay = LogRelay(sink[1])
    with suppress(BlockingIOError):
        os.set_blocking(sink[1], False)
        while True:
            os.write(sink[1], b"x" * select.PIPE_BUF)
    first = relay.open("health")
    os.write(first, b"waits\n")
    before = descriptors()
    for _ in range(2000):
        os.close(relay.open("health"))
    assert descriptors() - before <= 2 * log_relay._MOST_NEW + 2
    os.close(first)
    os.close(sink[0])
    relay.close()


def test_long_line_is_cut(relay, sink):
    assert passed_on(relay, sink, b"x" * 10000 + b"\nshort\n") == b"x" * (select.PIPE_BUF - 1) + b"\nshort\n"


def test_lines_of_several_processes_are_not_mixed(relay, sink):
    pipes = [relay.open(f"health{number}") for number in range(5)]

    def write(number, pipe):
        for count in range(2000):
            os.write(pipe, b"%d: line %d\n" % (number, count))
        os.close(pipe)

    threads = [threading.Thread(target=write, args=item) for item in enumerate(pipes)]
    for thread in threads:
        thread.start()
    with os.fdopen(os.dup(sink[0]), "rb") as reader:
        lines = [reader.readline() for _ in range(10000)]
    for thread in threads:
        thread.join()
    for number in range(5):
        own = [line for line in lines if line.startswith(b"%d:" % number)]
        assert own == [b"%d: line %d\n" % (number, count) for count in range(2000)]


def test_processes_are_not_held_up_when_nobody_reads(relay, sink):
    pipe = relay.open("config")
    os.set_blocking(pipe, False)
    with suppress(BlockingIOError):
        while True:
            os.write(pipe, b"x" * 100 + b"\n")
    relay.close()  # nor is the end of the node
    os.close(pipe)
    os.close(sink[0])  # so that the thread ends, too
    relay._thread.join(10)
    for end in (relay._selector, relay._waker, relay._wake):
        end.close()


def test_log_whose_reader_has_gone_is_dropped(relay, sink):
    os.close(sink[0])
    pipe = relay.open("config")
    for _ in range(1000):
        os.write(pipe, b"x" * 1000 + b"\n")
    os.close(pipe)
    relay.close()
    assert not relay._thread.is_alive()
