import pytest

from clusterf.lib.signals import signal_number


@pytest.mark.parametrize(
    ("text", "number"),
    [
        *[("15", 15), ("TERM", 15), ("SIGTERM", 15), (" sigterm ", 15), ("9", 9), ("SIGKILL", 9), ("USR1", 10)],
        *[("SIGRTMIN+3", 37), ("RTMAX-14", 50), ("RTMIN", 34), ("SIGSTKFLT", 16), ("WINCH", 28)],
        *[("", 0), ("SIGFOO", 0), ("TERM+1", 0), ("_DFL", 0), ("-1", 0), ("1000", 0), ("٩", 0), ("SIG", 0)],
    ],
)
def test_signal_is_read_by_number_or_name(text, number):
    assert signal_number(text) == number
