import errno

import pytest

from clusterf.ipvs.netlink import family
from clusterf.ipvs.netlink.attributes import U16, attribute
from clusterf.ipvs.netlink.family import MISSING, find_family


class FakeChannel:
    """A channel that answers each request with `answers`, or fails with `error`."""

    answers: tuple[bytes, ...] = ()
    error: OSError | None = None
    requests: list[tuple[int, int, bytes]]
    opened: "list[FakeChannel]"

    def __init__(self, number, deadline):
        self.number = number
        self.closed = False
        self.opened.append(self)

    def ask(self, command, payload, decode):
        self.requests.append((self.number, command, payload))
        if self.error is not None:
            raise self.error
        return [decode(answer) for answer in self.answers]

    def close(self):
        self.closed = True


@pytest.fixture
def channel(monkeypatch):
    class Channel(FakeChannel):
        pass

    Channel.requests, Channel.opened = [], []
    monkeypatch.setattr(family, "Channel", Channel)
    return Channel


def test_number_is_asked_of_the_controller_by_name(channel):
    channel.answers = (attribute(2, b"IPVS\0") + attribute(1, U16.pack(31)),)
    assert find_family(1.0) == 31
    assert channel.requests == [(0x10, 3, attribute(2, b"IPVS\0"))]
    assert all(each.closed for each in channel.opened)


def test_missing_family_is_an_error_that_names_the_module(channel):
    channel.error = OSError(errno.ENOENT, "No such file or directory")
    with pytest.raises(OSError, match=MISSING) as caught:
        find_family(1.0)
    assert caught.value.errno == errno.ENOENT
    assert all(each.closed for each in channel.opened)


def test_other_errors_are_passed_on(channel):
    channel.error = OSError(errno.ETIMEDOUT, "the kernel timed out")
    with pytest.raises(OSError, match="the kernel timed out"):
        find_family(1.0)


@pytest.mark.parametrize("count", [0, 2])
def test_any_other_number_of_families_is_an_error(channel, count):
    channel.answers = (attribute(1, U16.pack(31)),) * count
    with pytest.raises(OSError, match=f"the kernel has {count} families") as caught:
        find_family(1.0)
    assert caught.value.errno == errno.EBADMSG


@pytest.mark.parametrize("answer", [b"", attribute(2, b"IPVS\0"), attribute(1, b"\0")])
def test_malformed_answer_is_a_value_error(channel, answer):
    channel.answers = (answer,)
    with pytest.raises(ValueError, match="malformed family"):
        find_family(1.0)
