import ipaddress

import pytest

from clusterf.config.model import HealthCheck
from clusterf.health.probe_policy import (
    DENIED,
    EVERYTHING,
    METHODS,
    ProbePolicy,
    parse_denied,
    parse_methods,
    parse_networks,
)
from clusterf.lib.addresses import Endpoint

DEFAULT = ProbePolicy(DENIED, (), METHODS)
TCP = HealthCheck()
NOT_ALLOWED = "not allowed (--health-deny)"


def at(address):
    return Endpoint(ipaddress.ip_address(address).packed, 2379)


def refusal(policy, address, check=TCP, *, local=False):
    return policy.refusal(at(address), check, local=local)


@pytest.mark.parametrize(
    "address",
    [
        *("0.0.0.0", "0.1.2.3", "127.0.0.1", "127.255.1.1", "169.254.169.254", "224.0.0.1", "239.255.255.255"),
        *("255.255.255.255", "::", "::1", "fe80::1", "febf::1", "ff02::1"),
        *("::ffff:127.0.0.1", "::ffff:169.254.169.254", "::ffff:0.0.0.0", "::ffff:224.0.0.1"),
    ],
)
def test_addresses_of_this_machine_and_of_groups_are_denied_by_default(address):
    assert refusal(DEFAULT, address) == NOT_ALLOWED
    assert refusal(DEFAULT, address, HealthCheck(type="https")) == NOT_ALLOWED
    assert refusal(EVERYTHING, address) == ""


def test_probes_do_not_come_from_a_denied_address():
    check = HealthCheck(source4=ipaddress.ip_address("127.0.0.1"), source6=ipaddress.ip_address("::1"))
    for address in ("10.0.0.1", "2001:db8::1"):
        assert refusal(DEFAULT, address, check) == f"source: {NOT_ALLOWED}"
        assert refusal(DEFAULT, address, check, local=True) == ""
        assert refusal(EVERYTHING, address, check) == ""
    assert refusal(DEFAULT, "10.0.0.1", HealthCheck(source6=ipaddress.ip_address("::1"))) == ""


@pytest.mark.parametrize(
    "address",
    [
        *("10.0.0.1", "1.0.0.0", "126.255.255.255", "128.0.0.1", "169.253.0.1", "192.0.2.1", "223.255.255.255"),
        *("::2", "2001:db8::1", "fd00::1", "fec0::1", "::ffff:10.0.0.1", "::1:7f00:1"),
    ],
)
def test_other_addresses_are_allowed_by_default(address):
    assert refusal(DEFAULT, address) == ""


def test_address_is_not_denied_where_backend_and_check_are_from_files_of_this_machine():
    assert refusal(DEFAULT, "127.0.0.1", local=True) == ""


def test_allowed_prefix_wins():
    policy = ProbePolicy(["10.0.0.0/8", "127.0.0.0/8"], ["10.1.0.0/16", "127.0.0.1/32"], METHODS)
    denied = {address for address in ("10.0.0.1", "10.1.0.1", "127.0.0.1", "127.0.0.2") if refusal(policy, address)}
    assert denied == {"10.0.0.1", "127.0.0.2"}
    assert refusal(policy, "::ffff:127.0.0.1") == ""


def test_mapped_prefix_stands_for_the_ipv4_prefix():
    policy = ProbePolicy(["::ffff:10.0.0.0/104"])
    assert refusal(policy, "10.9.9.9") == refusal(policy, "::ffff:10.9.9.9") == NOT_ALLOWED
    assert refusal(policy, "11.0.0.1") == ""
    assert refusal(ProbePolicy(["::/0"]), "10.0.0.1") == ""


@pytest.mark.parametrize("local", [False, True])
@pytest.mark.parametrize("kind", ["http", "https"])
def test_method_that_is_not_listed_is_refused(kind, local):
    post = HealthCheck(type=kind, method="POST", body="a")
    assert refusal(DEFAULT, "10.0.0.1", post, local=local) == "method POST is not allowed (--health-methods)"
    assert refusal(ProbePolicy(DENIED, (), ("GET", "POST")), "10.0.0.1", post, local=local) == ""
    for method in METHODS:
        assert refusal(DEFAULT, "10.0.0.1", HealthCheck(type=kind, method=method)) == ""


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "DELETE", "TRACE"])
def test_body_is_refused_with_a_method_that_has_none(method):
    policy = ProbePolicy((), (), (method,))
    check = HealthCheck(type="http", method=method, body="POST / HTTP/1.1\r\n\r\n")
    assert refusal(policy, "10.0.0.1", check, local=True) == f"a request by {method} has no body"


def test_method_and_body_do_not_matter_to_a_check_by_tcp():
    assert refusal(DEFAULT, "10.0.0.1", HealthCheck(method="POST", body="a")) == ""


def test_default_stands_for_the_prefixes_that_are_denied_by_default():
    assert parse_denied(["default", "10.1.2.3/8"]) == (*DENIED, "10.0.0.0/8")
    with pytest.raises(ValueError, match=r"10\.0\.0\.0/33"):
        parse_networks(["10.0.0.0/33"])


def test_methods_are_a_list_in_either_case():
    assert parse_methods("get, POST") == ("GET", "POST")
    for text in ("", "GET,,HEAD", "GET;POST", "CONNECT", "GET /"):
        with pytest.raises(ValueError, match="not a list of HTTP methods"):
            parse_methods(text)
