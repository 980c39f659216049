"""One service with one backend, under routes."""

from ipaddress import IPv4Address, IPv6Address

from clusterf.config.model import Backend, BackendKey, Frontend, FrontendKey
from clusterf.config.model import RouteKey as R
from tests.clusterf.support.pipeline import NODE, Pipeline

__all__ = ["IN4", "IN6", "ONE", "VIP4", "VIP6", "WEB", "B", "F", "table_and_problems"]

VIP4, VIP6 = IPv4Address("198.51.100.1"), IPv6Address("fd00:ff::1")
IN4, IN6 = IPv4Address("10.0.0.1"), IPv6Address("fd00::1")
WEB = Frontend(ipv4=VIP4, tcp=80)
ONE = Backend(ipv4=IN4, tcp=8080)
F, B = FrontendKey(b"web"), BackendKey(b"web", b"1")


def table_and_problems(frontend, backend, *by_name, defaults=NODE):
    """Return the table's lines and the problems of one service with one backend, and these routes."""
    named = {R(b"%d" % number): value for number, value in enumerate(by_name)}
    pipeline = Pipeline.of({F: frontend, B: backend} | named, defaults)
    return pipeline.lines, sorted(str(problem) for problem in pipeline.outstanding)
