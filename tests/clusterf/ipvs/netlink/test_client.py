import errno
from collections import defaultdict

import pytest

from clusterf.ipvs.kernel import Unavailable
from clusterf.ipvs.netlink import client
from clusterf.ipvs.netlink.client import NetlinkIpvs, open_kernel
from clusterf.ipvs.netlink.services import Command
from clusterf.ipvs.table import Method, Op, RealServerSettings, ServiceFlag, Step, VirtualServerSettings, table_of
from tests.clusterf.support.netlink_answers import BACKEND, DEST, SERVICE, WEB

SETTINGS = VirtualServerSettings("wlc", ServiceFlag.PERSISTENT | ServiceFlag.SCHED_2, 300, 0xFFFFFF00)
REAL_SETTINGS = RealServerSettings(Method.MASQ, 10, 100, 50)
STEPS = [Step(Op.REMOVE_REAL, WEB, BACKEND), Step(Op.REMOVE_VIRTUAL, WEB)]


class FakeChannel:
    """A channel whose answers are lists of payloads, or errno, by command; the last one of a command stays."""

    def __init__(self, family):
        self.family = family
        self.closed = False
        self.answers = defaultdict(lambda: [[]])
        self.errors = []
        self.asked = []

    def ask(self, command, payload, decode):
        self.asked.append((self.family, command))
        answers = self.answers[command]
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, int):
            raise OSError(answer, "refused")
        return [decode(row) for row in answer]

    dump = ask

    def batch(self, requests):
        return [error for _, error in zip(requests, self.errors, strict=True)]

    def close(self):
        self.closed = True


class Families:
    """The numbers that the family IPVS has, one after the other; None: it is gone."""

    def __init__(self):
        self.numbers = [30]

    def find(self, deadline):
        number = self.numbers.pop(0) if len(self.numbers) > 1 else self.numbers[0]
        if number is None:
            raise OSError(errno.ENOENT, "the kernel module ip_vs is missing")
        return number


@pytest.fixture
def families(monkeypatch):
    families = Families()
    monkeypatch.setattr(client, "find_family", families.find)
    return families


@pytest.fixture
def channel(families, monkeypatch):
    channel = FakeChannel(30)
    monkeypatch.setattr(client, "Channel", lambda family, deadline: channel)
    return channel


@pytest.fixture
def kernel(channel):
    kernel = NetlinkIpvs()
    channel.asked.clear()
    return kernel


def test_table_is_read_with_one_dump_for_each_virtual_server(kernel, channel):
    channel.answers.update({Command.GET_SERVICE: [[SERVICE]], Command.GET_DEST: [[DEST]]})
    assert kernel.read() == table_of([(WEB, SETTINGS, {BACKEND: REAL_SETTINGS})])
    assert channel.asked == [(30, Command.GET_SERVICE), (30, Command.GET_DEST)]


def test_virtual_server_that_goes_while_the_table_is_read_is_left_out(kernel, channel):
    channel.answers[Command.GET_SERVICE] = [[SERVICE], errno.ESRCH]
    assert kernel.read() == table_of([])


def test_virtual_server_without_real_servers_is_told_from_one_that_is_gone(kernel, channel):
    channel.answers[Command.GET_SERVICE] = [[SERVICE]]
    assert kernel.read_virtual(WEB) == (SETTINGS, {})
    channel.answers[Command.GET_SERVICE] = [[SERVICE], errno.ESRCH]
    assert kernel.read_virtual(WEB) is None
    channel.answers[Command.GET_SERVICE] = [errno.ESRCH]
    assert kernel.read_virtual(WEB) is None


def test_other_errors_of_a_virtual_server_are_raised(kernel, channel):
    channel.answers[Command.GET_SERVICE] = [errno.EPERM]
    with pytest.raises(OSError):
        kernel.read_virtual(WEB)


def test_dump_with_a_virtual_server_twice_is_repeated(kernel, channel):
    channel.answers[Command.GET_SERVICE] = [[SERVICE, SERVICE], [SERVICE]]
    assert kernel.read_virtuals() == {WEB: SETTINGS}


def test_dump_that_always_has_a_virtual_server_twice_is_an_error(kernel, channel):
    channel.answers[Command.GET_SERVICE] = [[SERVICE, SERVICE]]
    with pytest.raises(OSError, match="rearranged its table") as caught:
        kernel.read_virtuals()
    assert caught.value.errno == errno.EAGAIN


def test_query_is_repeated_when_the_family_has_a_new_number(kernel, channel, families):
    families.numbers = [31]
    channel.answers[Command.FLUSH] = [errno.ENOENT, []]
    kernel.flush()
    assert channel.asked == [(30, Command.FLUSH), (31, Command.FLUSH)]


@pytest.mark.parametrize("number", [30, None])
def test_query_fails_while_the_family_is_gone_or_unchanged(kernel, channel, families, number):
    families.numbers = [number]
    channel.answers[Command.FLUSH] = [errno.ENOENT]
    with pytest.raises(OSError) as caught:
        kernel.flush()
    assert caught.value.errno == errno.ENOENT
    assert channel.asked == [(30, Command.FLUSH)]


@pytest.mark.parametrize("errors", [[0, 0], [errno.ENOENT, 0], [errno.ENOENT, errno.ENOENT]])
def test_errors_of_steps_are_returned(kernel, channel, errors):
    channel.errors = errors
    assert kernel.apply(STEPS) == errors


def test_steps_that_all_failed_because_the_module_was_reloaded_are_an_error(kernel, channel, families):
    families.numbers = [31]
    channel.errors = [errno.ENOENT, errno.ENOENT]
    with pytest.raises(OSError, match="the kernel module ip_vs was reloaded"):
        kernel.apply(STEPS)
    assert channel.family == 31


def test_kernel_is_opened_by_a_request_and_closed(channel):
    open_kernel().close()
    assert channel.asked == [(30, Command.GET_INFO)]
    assert channel.closed


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (errno.EPERM, "the capability CAP_NET_ADMIN is missing"),
        (errno.ETIMEDOUT, "IPVS cannot be reached over netlink: "),
    ],
)
def test_refused_request_makes_ipvs_unavailable_with_the_reason(channel, error, message):
    channel.answers[Command.GET_INFO] = [error]
    with pytest.raises(Unavailable, match=message):
        open_kernel()
    assert channel.closed


def test_missing_module_makes_ipvs_unavailable_with_its_name(channel, families):
    families.numbers = [None]
    with pytest.raises(Unavailable, match="load it with modprobe ip_vs"):
        open_kernel()
