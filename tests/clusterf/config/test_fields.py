from enum import Enum
from ipaddress import IPv4Address, IPv4Network

import pytest

from clusterf.config import fields
from clusterf.config.model import Backend, Frontend
from clusterf.lib.addresses import check_vip, parse_ipv4


class Colour(Enum):
    RED = 1
    DARK_BLUE = 2


def test_fields_of_a_model_are_read_by_their_annotations():
    read = fields.fields_of(Backend)
    assert read["weight"](7) == 7
    with pytest.raises(ValueError, match=r"Expected `int` <= 65535\Z"):
        read["weight"](65536)
    assert fields.fields_of(Frontend).keys() == set(Frontend.__struct_fields__)


def test_name_of_a_member_is_read_in_lower_case():
    read = fields.one_of(Colour)
    assert read("dark_blue") is Colour.DARK_BLUE
    with pytest.raises(ValueError, match="not one of red, dark_blue: RED"):
        read("RED")


def test_empty_string_is_read_as_the_default():
    read = fields.or_default(fields.read_method, "GET")
    assert read("") == "GET"
    assert read("head") == "HEAD"


def test_text_is_checked_against_a_pattern_and_a_length():
    read = fields.matching("[a-z]+", "a word", longest=3)
    assert read("abc") == "abc"
    for text, reason in (("ab1", "not a word: ab1"), ("abcd", "4 characters are too many, the limit is 3")):
        with pytest.raises(ValueError, match=reason):
            read(text)


def test_address_is_parsed_and_checked():
    read = fields.address(parse_ipv4, check_vip)
    assert read("10.0.0.1") == IPv4Address("10.0.0.1")
    assert read("") is None
    with pytest.raises(ValueError, match="unspecified"):
        read("0.0.0.0")


def test_host_bits_of_a_prefix_are_masked():
    assert fields.read_prefix("10.1.2.3/8") == IPv4Network("10.0.0.0/8")
    assert fields.read_prefix("") is None


@pytest.mark.parametrize(("raw", "mask"), [(24, 24), ("255.0.0.0", IPv4Address("255.0.0.0")), ("", None)])
def test_netmask_is_a_length_or_a_mask(raw, mask):
    assert fields.read_netmask(raw) == mask


def test_status_codes_are_ranges():
    assert fields.read_status("200-299, 404") == ((200, 299), (404, 404))
