import pytest

from clusterf.lib.addresses import parse_endpoint


def test_endpoint_is_printed_as_it_is_parsed():
    for text in ("192.0.2.1:53", "[2001:db8::1]:65535", "127.0.0.1:1"):
        assert str(parse_endpoint(text)) == text
    assert parse_endpoint("[2001:DB8:0::1]:1") == parse_endpoint("[2001:db8::1]:1")


@pytest.mark.parametrize(
    "text",
    [
        *("", "192.0.2.1", "192.0.2.1:", ":53", "192.0.2.1:0", "192.0.2.1:65536", "192.0.2.1:+5", "192.0.2:53"),
        *(
            "2001:db8::1:53",
            "[2001:db8::1]",
            "[2001:db8::1%eth0]:53",
            "[192.0.2.1]:x",
            "example.org:53",
            "192.0.2.1:\u0665",
        ),
        *("0.0.0.0:53", "[::]:53", "224.0.0.1:53", "[ff02::1]:53", "[fe80::1]:53", "192.0.2.1:53\n", "[192.0.2.1]:53"),
    ],
)
def test_invalid_endpoint_is_rejected(text):
    with pytest.raises(ValueError, match=r"ADDRESS:PORT|no address to connect to|does not appear"):
        parse_endpoint(text)
