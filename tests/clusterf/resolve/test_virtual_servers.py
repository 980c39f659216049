import pytest

from clusterf.config.model import Backend, Frontend, Persistence
from clusterf.ipvs.table import ServiceFlag, VirtualServer
from clusterf.lib.addresses import Family
from clusterf.resolve.virtual_servers import virtual_servers
from tests.clusterf.support.one_service import IN4, IN6, ONE, VIP4, VIP6, B, F, table_and_problems
from tests.clusterf.support.pipeline import NODE, Pipeline


def test_frontend_becomes_a_virtual_server_for_each_family_and_protocol():
    frontend = Frontend(ipv4=VIP4, ipv6=VIP6, tcp=80, udp=53, sctp=9)
    backend = Backend(ipv4=IN4, ipv6=IN6, tcp=1, udp=2, sctp=3)
    table = Pipeline.of({F: frontend, B: backend}).table
    assert {str(v): [str(r) for r in reals] for v, reals in table.reals.items()} == {
        "198.51.100.1:80/tcp": ["10.0.0.1:1"],
        "198.51.100.1:53/udp": ["10.0.0.1:2"],
        "198.51.100.1:9/sctp": ["10.0.0.1:3"],
        "[fd00:ff::1]:80/tcp": ["[fd00::1]:1"],
        "[fd00:ff::1]:53/udp": ["[fd00::1]:2"],
        "[fd00:ff::1]:9/sctp": ["[fd00::1]:3"],
    }


@pytest.mark.parametrize("frontend", [Frontend(), Frontend(ipv4=VIP4), Frontend(tcp=80)])
def test_frontend_without_an_address_or_a_port_has_no_virtual_server(frontend):
    assert table_and_problems(frontend, ONE) == ([], [])


PERSISTENT = {"persistence": Persistence(timeout=60, netmask4=0xFFFFFF00, netmask6=64)}
FOUR, SIX = {"ipv4": VIP4}, {"ipv6": VIP6}


@pytest.mark.parametrize(
    ("fields", "scheduler", "flags", "timeout", "netmask"),
    [
        (FOUR | {"tcp": 80}, "wlc", 0, 0, 0xFFFFFFFF),
        (SIX | {"tcp": 80}, "wlc", 0, 0, 128),
        (FOUR | {"tcp": 80, "scheduler": "rr"}, "rr", 0, 0, 0xFFFFFFFF),
        (FOUR | {"tcp": 80, "one_packet": True}, "wlc", 0, 0, 0xFFFFFFFF),
        (FOUR | {"sctp": 80, "one_packet": True}, "wlc", 0, 0, 0xFFFFFFFF),
        (FOUR | {"udp": 80, "one_packet": True}, "wlc", 4, 0, 0xFFFFFFFF),
        (FOUR | {"tcp": 80} | PERSISTENT, "wlc", 1, 60, 0xFFFFFF00),
        (SIX | {"tcp": 80} | PERSISTENT, "wlc", 1, 60, 64),
        (FOUR | {"tcp": 80, "scheduler_flags": ("sh-port", "sh-fallback")}, "wlc", 0x18, 0, 0xFFFFFFFF),
        (FOUR | {"fwmark": 1, "one_packet": True}, "wlc", 4, 0, 0xFFFFFFFF),
    ],
)
def test_settings_of_a_frontend_are_those_of_its_virtual_server(fields, scheduler, flags, timeout, netmask):
    (found,) = Pipeline.of({F: Frontend(**fields)}).table.virtuals.values()
    assert (found.scheduler, found.flags, found.timeout, found.netmask) == (
        *(scheduler, ServiceFlag(flags)),
        *(timeout, netmask),
    )


@pytest.mark.parametrize("fields", [FOUR | {"tcp": 80, "udp": 80}, SIX | {"fwmark": 7}])
def test_each_virtual_server_has_the_drain_timeout_of_its_frontend(fields):
    found = virtual_servers(Frontend(**fields, drain_timeout=7.0), NODE)
    assert found
    assert {spec.drain_timeout for _, spec in found} == {7.0}


def test_one_packet_applies_to_the_udp_virtual_server_only():
    table = Pipeline.of({F: Frontend(ipv4=VIP4, tcp=53, udp=53, sctp=53, one_packet=True)}).table
    assert {v.protocol.name: bool(s.flags & ServiceFlag.ONE_PACKET) for v, s in table.virtuals.items()} == {
        "TCP": False,
        "UDP": True,
        "SCTP": False,
    }


@pytest.mark.parametrize(
    ("fields", "families"),
    [({}, [2]), (FOUR, [2]), (SIX, [10]), (FOUR | SIX, [2, 10]), (FOUR | {"tcp": 80}, [2])],
)
def test_fwmark_replaces_addresses_and_ports(fields, families):
    table = Pipeline.of({F: Frontend(fwmark=7, **fields)}).table
    assert list(table.virtuals) == [VirtualServer(Family(family), fwmark=7) for family in families]
