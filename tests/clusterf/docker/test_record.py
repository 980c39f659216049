from ipaddress import IPv4Address, IPv6Address

import pytest

from clusterf.docker.addresses import ContainerAddress
from clusterf.docker.containers import Published
from clusterf.docker.record import ContainerRecord, decode_record, encode_record
from clusterf.lib.addresses import Protocol


@pytest.mark.parametrize(
    "record",
    [
        ContainerRecord(),
        ContainerRecord(1_795_354_253_659_924_512),
        ContainerRecord(0, ContainerAddress("n", IPv4Address("10.0.0.1"), IPv6Address("fd00::1"))),
        ContainerRecord(
            5, ContainerAddress(ipv4=IPv4Address("10.0.0.1"), published=(Published(Protocol.UDP, 53, "::", 1053),))
        ),
        ContainerRecord(5, ContainerAddress(published=())),
    ],
)
def test_record_is_decoded_as_it_was_encoded(record):
    assert decode_record(encode_record(record)) == record


@pytest.mark.parametrize(
    "raw", [b"", b"\xff", b"\x91\xa1x", b"{}", encode_record(ContainerRecord(5, ContainerAddress("n")))[:-1]]
)
def test_invalid_record_is_refused_with_a_reason(raw):
    with pytest.raises(ValueError, match="not a container record: "):
        decode_record(raw)
