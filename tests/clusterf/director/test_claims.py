from ipaddress import IPv4Address

from clusterf.director.claims import Claims
from clusterf.ipvs.table import ServiceFlag, VirtualServer, VirtualServerSettings, VirtualServerSpec
from clusterf.lib.addresses import Family, Protocol
from clusterf.resolve.resolver import ServiceResolved
from tests.clusterf.support.left_behind import left_behind

HTTP, HTTPS = (VirtualServer(Family.IPV4, Protocol.TCP, IPv4Address("10.0.0.1"), port) for port in (80, 443))
SPEC = VirtualServerSpec(VirtualServerSettings("wlc", ServiceFlag(0), 0, 0xFFFFFFFF), 30.0)
OTHER = VirtualServerSpec(VirtualServerSettings("rr", ServiceFlag(0), 0, 0xFFFFFFFF), 30.0)


def claims_of(service, *virtuals, spec=SPEC, forbidden=()):
    return ServiceResolved(service, tuple((virtual, spec) for virtual in virtuals), None, frozenset(forbidden))


def test_what_changes_is_named():
    claims = Claims()
    assert claims.put(claims_of(b"a", HTTP, HTTPS)) == [HTTP, HTTPS]
    assert claims.put(claims_of(b"a", HTTP, HTTPS)) == []
    assert claims.put(claims_of(b"a", HTTPS, spec=OTHER)) == [HTTP, HTTPS]
    assert claims.put(claims_of(b"b", HTTPS)) == [HTTPS]
    assert claims.rivals(HTTPS) == {b"a": OTHER, b"b": SPEC}
    assert claims.rivals(HTTP) == {}


def test_forbidden_claim_is_no_rival():
    claims = Claims()
    claims.put(claims_of(b"a", HTTP, HTTPS))
    assert claims.put(claims_of(b"a", HTTP, HTTPS, forbidden=[HTTP])) == [HTTP]
    assert claims.rivals(HTTP) == {}
    assert claims.claimed_by(b"a") == [HTTP, HTTPS]
    assert claims.put(claims_of(b"a", HTTP, HTTPS)) == [HTTP]
    assert claims.rivals(HTTP) == {b"a": SPEC}


def test_service_without_claims_leaves_nothing():
    claims = Claims()
    claims.put(claims_of(b"a", HTTP, HTTPS, forbidden=[HTTP]))
    assert claims.put(claims_of(b"a")) == [HTTPS]
    assert claims.claimed_by(b"a") == []
    assert left_behind(claims) == {}
