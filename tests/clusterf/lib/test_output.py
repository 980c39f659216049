import io
import os
import socket

import pytest

from clusterf.lib.output import Output

MORE = "x" * 4095 + "\n"


@pytest.fixture(params=["pipe", "socket"])
def ends(request):
    """The end that is read, as a descriptor, and a stream on the one that is written."""
    if request.param == "pipe":
        reader, writer = os.pipe()
    else:
        reader, writer = (end.detach() for end in socket.socketpair())
    with os.fdopen(writer, "w") as stream:
        yield reader, stream
    os.close(reader)


def fill(output):
    while True:
        output.write(MORE, 0.05)


@pytest.fixture
def output(ends):
    output = Output(ends[1])
    yield output
    output.close()


def test_text_is_written(ends, output):
    reader, _ = ends
    output.write("é\udcff\n", 1.0)
    assert os.read(reader, 100) == b"\xc3\xa9\\udcff\n"


def test_write_that_nobody_reads_ends_and_the_next_one_that_is_read_works(ends, output):
    reader, _ = ends
    assert output.ready
    with pytest.raises(TimeoutError, match=r"not read for 0\.05 seconds"):
        fill(output)
    assert not output.ready
    while len(os.read(reader, 1 << 20)) == 1 << 20:
        pass
    output.write("again\n", 1.0)
    assert os.read(reader, 1 << 20).endswith(b"again\n")


@pytest.mark.usefixtures("output")
def test_shared_descriptor_stays_in_blocking_mode(ends):
    _, stream = ends
    assert os.get_blocking(stream.fileno())


def test_reader_that_is_gone_is_an_error():
    reader, writer = os.pipe()
    with os.fdopen(writer, "w") as stream:
        output = Output(stream)
        os.close(reader)
        with pytest.raises(BrokenPipeError):
            output.write("x", 1.0)
        output.close()


def test_file_and_stream_without_a_descriptor_are_written_as_they_are(tmp_path):
    with (tmp_path / "file").open("w") as file:
        Output(file).write("text\n", 0.0)
        assert (tmp_path / "file").read_text() == "text\n"
    memory = io.StringIO()
    Output(memory).write("text\n", 0.0)
    assert memory.getvalue() == "text\n"
