import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clusterf.ipvs.netlink.attributes import NESTED, attribute, attributes


@given(st.dictionaries(st.integers(0, 0x3FFF), st.binary(max_size=40), max_size=8))
def test_attributes_are_found_whatever_their_flags(expected):
    data = b"".join(
        struct.pack("=HH", len(body) + 4, kind | 0x8000) + body + b"\0" * (-len(body) % 4)
        for kind, body in expected.items()
    )
    assert attributes(data) == expected


@given(st.binary(max_size=200))
def test_attributes_fill_the_data_or_are_malformed(data):
    try:
        found = attributes(data)
    except ValueError:
        return
    assert sum(map(len, found.values())) <= len(data)


@given(st.dictionaries(st.integers(0, 0x3FFF), st.binary(max_size=40), max_size=8))
def test_attributes_are_decoded_as_they_were_encoded(expected):
    data = b"".join(attribute(kind | NESTED, payload) for kind, payload in expected.items())
    assert len(data) % 4 == 0
    assert attributes(data) == expected


def test_last_attribute_of_a_kind_counts():
    assert attributes(attribute(1, b"a") + attribute(1, b"b")) == {1: b"b"}


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\x03\0\1\0", "netlink attribute 1 of 3 bytes in 4"),
        (b"\x09\0\1\0abcd", "netlink attribute 1 of 9 bytes in 8"),
        (b"\x04\0\1\0\0\0", "2 bytes after the last netlink attribute"),
    ],
)
def test_malformed_attributes_are_refused_with_the_reason(data, reason):
    with pytest.raises(ValueError, match=reason):
        attributes(data)
