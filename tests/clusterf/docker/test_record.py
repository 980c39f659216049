from ipaddress import IPv4Address, IPv6Address

import pytest

from clusterf.docker.addresses import Place
from clusterf.docker.containers import Published
from clusterf.docker.record import Mark, decode_mark, encode_mark
from clusterf.lib.addresses import Protocol


@pytest.mark.parametrize(
    "mark",
    [
        Mark(),
        Mark(1_795_354_253_659_924_512),
        Mark(0, Place("n", IPv4Address("10.0.0.1"), IPv6Address("fd00::1"))),
        Mark(5, Place(ipv4=IPv4Address("10.0.0.1"), published=(Published(Protocol.UDP, 53, "::", 1053),))),
        Mark(5, Place(published=())),
    ],
)
def test_a_mark_outlives_a_restart(mark):
    assert decode_mark(encode_mark(mark)) == mark


@pytest.mark.parametrize("raw", [b"", b"\xff", b"\x91\xa1x", b"{}", encode_mark(Mark(5, Place("n")))[:-1]])
def test_what_is_no_mark_is_refused_with_a_reason(raw):
    with pytest.raises(ValueError, match="not a mark of a container: "):
        decode_mark(raw)
