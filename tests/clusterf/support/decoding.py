"""Decoding a value of each kind of key, and what is wrong with it."""

import json
from ipaddress import IPv4Address, IPv6Address

from clusterf.config.decode import decode
from clusterf.config.keys import path_of
from clusterf.config.model import (
    BackendKey,
    FrontendKey,
    HealthKey,
    RouteKey,
)

__all__ = ["BACKEND", "FRONTEND", "HEALTH", "KEYS", "ROUTE", "VIP4", "VIP6", "assert_one_fault", "faults", "read"]

FRONTEND = FrontendKey(b"web")
BACKEND = BackendKey(b"web", b"1")
HEALTH = HealthKey(None)
ROUTE = RouteKey(b"test1")
KEYS = [FRONTEND, BACKEND, HEALTH, ROUTE]
VIP4 = IPv4Address("10.107.107.107")
VIP6 = IPv6Address("fd07::107")


def read(key, raw):
    return decode(
        "file:///etc/clusterf", path_of(key), key, raw if isinstance(raw, bytes) else json.dumps(raw).encode()
    )


def faults(decoded):
    return [(problem.field, problem.reason) for problem in decoded.problems if problem.fatal]


def assert_one_fault(decoded, field, reason):
    assert decoded.value is None
    [(bad, why)] = faults(decoded)
    assert bad == field
    assert reason in why
