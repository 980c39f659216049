import os
import select
import threading
from contextlib import suppress

import pytest

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


@pytest.mark.parametrize("line", [b"ipvs: ipvsadm -C", b"ipvs noop: ipvsadm -C", b"warning: ipvs: drift"])
def test_no_line_passes_for_one_of_the_director(relay, sink, line):
    assert passed_on(relay, sink, line + b"\n", b"ipvsadm is missing\n", name="health") == (
        b"health: " + line + b"\nipvsadm is missing\n"
    )


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
