"""What the kernel refuses, or takes for something else, `clusterf config check` refuses; the rest the kernel takes."""

import errno
import json
import platform
from collections.abc import Iterator, Mapping
from ipaddress import ip_address
from typing import Any, NamedTuple

import pytest
from click.testing import CliRunner
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from clusterf.cli.main import main
from clusterf.config.decode import decode
from clusterf.config.keys import parse_key
from clusterf.config.model import Key, Value
from clusterf.ipvs.diff import diff
from clusterf.ipvs.netlink.client import NetlinkIpvs, open_kernel
from clusterf.ipvs.table import (
    SCHEDULER_FLAGS,
    SCHEDULERS,
    Method,
    Op,
    RealServer,
    RealServerSettings,
    ServiceFlag,
    Step,
    Table,
    Tunnel,
    TunnelChecksum,
    TunnelType,
    VirtualServer,
    VirtualServerSettings,
)
from clusterf.lib.addresses import Family, Protocol
from clusterf.resolve.virtual_servers import Defaults
from tests.clusterf.support.pipeline import Pipeline
from tests.examples import examples
from tests.system.support.netns import network_namespace
from tests.system.support.node import Tree

pytestmark = pytest.mark.ipvs

WEB4, WEB6 = (VirtualServer(Family.of(ip), Protocol.TCP, ip, 80) for ip in map(ip_address, ("10.1.0.1", "fd00:1::1")))
MARK4, MARK6 = (VirtualServer(family, fwmark=1) for family in Family)
FRONTEND = {"ipv4": "10.1.0.1", "ipv6": "fd00:1::1", "tcp": 80}
BACKEND = {"ipv4": "10.3.0.1", "ipv6": "fd00:3::1", "tcp": 80}
TAKEN = 0  # by the kernel, which then does something else


@pytest.fixture(scope="module")
def kernel() -> Iterator[NetlinkIpvs]:
    """The kernel in a network namespace of these tests' own."""
    with network_namespace():
        kernel = open_kernel()
        yield kernel
        kernel.close()


class Refused(NamedTuple):
    """What an object asks for, what the kernel answers to that, and why the object is refused."""

    step: Step
    answer: int
    reason: str
    key: str
    value: Mapping[str, Any]
    method: str = "masq"
    gateway: str = ""


def virtual(
    virtual: VirtualServer = MARK4, timeout: int = 0, netmask: int = 0xFFFFFFFF, scheduler: str = "wlc"
) -> Step:
    flags = ServiceFlag.PERSISTENT if timeout else ServiceFlag(0)
    if virtual.family is Family.IPV6 and not timeout:
        netmask = 128
    return Step(Op.ADD_VIRTUAL, virtual, settings=VirtualServerSettings(scheduler, flags, timeout, netmask))


def real(
    address: str = "10.3.0.1", port: int = 80, method: Method = Method.MASQ, to: VirtualServer | None = None, **how: Any
) -> Step:
    server = RealServer(ip_address(address), port)
    family_s = WEB4 if server.address.version == 4 else WEB6
    return Step(Op.ADD_REAL, to or family_s, server, RealServerSettings(method, how.pop("weight", 1), **how))


def frontend(step: Step, answer: int, reason: str, **fields: Any) -> Refused:
    return Refused(step, answer, reason, "services/web/frontend", FRONTEND | fields)


def backend(step: Step, answer: int, reason: str, method: str = "masq", gateway: str = "", **fields: Any) -> Refused:
    return Refused(step, answer, reason, "services/web/backends/b", BACKEND | fields, method, gateway)


def tunnel(tunnel: Tunnel, answer: int, reason: str, **fields: Any) -> Refused:
    step = real(method=Method.TUNNEL, tunnel=tunnel)
    return Refused(step, answer, f"tunnel.{reason}", "routes/r", {"IPVSMethod": "tunnel", "tunnel": fields})


def bad_address(address: str, reason: str) -> Refused:
    field = f"ipv{ip_address(address).version}"
    return backend(real(address), errno.EINVAL, f"{field}: {reason}", **{field: address})


def other_family(address: str, to: VirtualServer, method: Method) -> Refused:
    reason = f"skipped: gateway {address} is of the other address family, which needs a tunnel"
    return backend(real(address, method=method, to=to), errno.EINVAL, reason, method.name.lower(), address)


HUGE = real(upper=2**31)
REFUSED = [
    *(
        bad_address(address, "unspecified, multicast or broadcast address")
        for address in ("0.0.0.0", "224.0.0.1", "239.255.255.255", "255.255.255.255", "::", "ff02::1")
    ),
    *(bad_address(address, "link-local or IPv4-mapped") for address in ("fe80::1", "febf::1", "::ffff:10.3.0.1")),
    bad_address("127.255.255.255", "broadcast"),
    backend(real(upper=5, lower=10), errno.ERANGE, "lower_threshold: gr", upper_threshold=5, lower_threshold=10),
    backend(real(lower=10), errno.ERANGE, "lower_threshold: greater than upper_threshold", lower_threshold=10),
    backend(HUGE, errno.EINVAL, "upper_threshold: Expected", upper_threshold=2**31),
    backend(real(weight=2**31), errno.ERANGE, "weight: Expected", weight=2**31),
    backend(real(weight=2**32 - 1), errno.ERANGE, "weight: Expected", weight=-1),
    backend(real(port=0), TAKEN, "tcp: Expected", tcp=0),
    *(
        backend(real(port=81, method=method), TAKEN, "port 81 replaced by 80", method.name.lower(), tcp=81)
        for method in (Method.DROUTE, Method.TUNNEL)
    ),
    *(
        other_family(address, to, method)
        for address, to in (("fd00:9::1", WEB4), ("10.9.0.1", WEB6))
        for method in (Method.MASQ, Method.DROUTE)
    ),
    frontend(virtual(scheduler="nosuch"), errno.ENOENT, "scheduler: unknown scheduler", scheduler="nosuch"),
    frontend(virtual(VirtualServer(Family.IPV4)), TAKEN, "fwmark: Expected", fwmark=0),
    frontend(virtual(timeout=2**31), TAKEN, "timeout: Expected", persistence={"timeout": 2**31}),
    frontend(virtual(timeout=1, netmask=0xFF00FF00), TAKEN, "holes", persistence={"netmask": "255.0.255.0"}),
    *(
        frontend(virtual(MARK6, 1, length), errno.EINVAL, "netmask: Expected", persistence={"netmask": length})
        for length in (0, 129)
    ),
    tunnel(Tunnel(TunnelType.GUE, 0), errno.EINVAL, "port: gue needs", type="gue"),
    tunnel(Tunnel(TunnelType.GRE, 80), TAKEN, "port: gre has no port", type="gre", port=80),
    tunnel(Tunnel(TunnelType.GRE, 0, TunnelChecksum.REMCSUM), TAKEN, "checksum: gre", type="gre", checksum="remcsum"),
    tunnel(Tunnel(TunnelType.IPIP, 0, TunnelChecksum.CSUM), TAKEN, "checksum: ipip has no csum", checksum="csum"),
]


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.reason)
def test_values_that_the_kernel_refuses_or_changes_are_refused_with_the_reason(
    kernel: NetlinkIpvs, tree: Tree, case: Refused
) -> None:
    tree.put("services/web/frontend", FRONTEND)
    tree.put("routes/r", {"IPVSMethod": case.method, "Gateway": case.gateway})
    tree.put(case.key, case.value)
    kernel.flush()

    answers = kernel.apply([virtual(WEB4), virtual(WEB6), case.step])
    # (6.1 still took thresholds that others read as negative)
    assert answers == [0, 0, case.answer] or (answers[2] == TAKEN and case.step == HUGE and platform.release() < "7")

    checked = CliRunner().invoke(main, ["config", "check", tree.url])
    assert checked.exit_code == 1
    assert [line for line in checked.stdout.splitlines() if f"{case.key}: " in line and case.reason in line]


def mostly(good: st.SearchStrategy[Any], *bad: Any) -> st.SearchStrategy[Any]:
    """Return values of which most are good in themselves."""
    return st.integers(0, 15).flatmap(lambda n: good if n else st.sampled_from(bad))


def some(*values: Any) -> st.SearchStrategy[Any]:
    return st.sampled_from(values)


ends4 = some("10.3.0.1", "10.3.0.2", "127.0.0.1", "127.0.0.0", "0.0.0.1", "240.0.0.1", "255.255.255.254", "10.1.0.1")
ends6 = some("fd00:3::1", "fd00:3::2", "::1", "::2", "fec0::1", "64:ff9b::1", "::ffff:0:10.0.0.1", "fd00:1::1")
bad4 = "0.0.0.0", "127.255.255.255", "224.0.0.1", "255.255.255.255", "", "10.3.0"
bad6 = "::", "fe80::1", "febf::1", "ff02::1", "::ffff:10.0.0.1", ""
ipv4 = mostly(ends4 | st.ip_addresses(v=4).map(str), *bad4)
ipv6 = mostly(ends6 | st.ip_addresses(v=6).map(str), *bad6)
ports = mostly(some(1, 21, 80, 65535), 0, 65536, None)
limits = mostly(some(0, 1, 2**30, 2**31 - 1), 2**31, 2**32 - 1, -1)
masks = mostly(st.integers(1, 32) | some("255.255.255.0", "128.0.0.0", ""), 0, 33, 64, 128, "0.0.0.0", "255.0.255.0")
frontends = st.fixed_dictionaries(
    {
        "ipv4": mostly(some("10.1.0.1", "127.0.0.1", "0.0.0.1", ""), *bad4),
        "ipv6": mostly(some("fd00:1::1", "fe80::1", "::1", "::ffff:10.1.0.1", ""), *bad6),
        "tcp": ports,
        "udp": ports,
    },
    optional={
        "sctp": ports,
        "fwmark": some(None, 1, 2**31, 2**32 - 1),
        "scheduler": mostly(some(*sorted(SCHEDULERS)), "nosuch", ""),
        "scheduler_flags": st.lists(some(*sorted(SCHEDULER_FLAGS)), max_size=3),
        "persistence": st.fixed_dictionaries(
            {}, optional={"timeout": mostly(some(1, 300, 31 * 86400), 0, 2**31), "netmask": masks}
        ),
        "one_packet": st.booleans(),
    },
)
backends = st.fixed_dictionaries(
    {"ipv4": ipv4, "ipv6": ipv6, "tcp": ports, "udp": ports},
    optional={
        "sctp": ports,
        "weight": mostly(some(0, 1, 65535), -1, 65536, 2**31),
        "upper_threshold": limits,
        "lower_threshold": limits,
    },
)
prefixes = some("", "", "0.0.0.0/0", "10.3.0.0/31", "::/0", "fd00::/16")
gateways = mostly(some("", "10.9.0.1", "fd00:9::1", "127.0.0.1"), *bad4, *bad6)
wrappings = some({"type": "gre"}, {"type": "gre", "checksum": "csum"}, {"type": "gue"}, {"checksum": "csum"})
wrappings |= st.fixed_dictionaries(
    {"type": st.just("gue"), "port": mostly(some(1, 65535), 0), "checksum": some("none", "csum", "remcsum")}
)
routes = st.fixed_dictionaries(
    {"Prefix": prefixes, "Gateway": gateways, "IPVSMethod": some("", "masq", "droute")}
) | st.fixed_dictionaries(
    {"Prefix": prefixes, "Gateway": gateways, "IPVSMethod": st.just("tunnel")}, optional={"tunnel": wrappings}
)
configurations = st.tuples(
    st.dictionaries(some("services/a/frontend", "services/b/frontend"), frontends, min_size=1),
    st.dictionaries(st.builds("services/{}/backends/{}".format, some("a", "b"), some(1, 2, 3)), backends, min_size=2),
    st.dictionaries(st.builds("routes/{}".format, some(1, 2)), routes, min_size=1),
).map(lambda parts: parts[0] | parts[1] | parts[2])


def good(configuration: Mapping[str, Mapping[str, Any]]) -> dict[Key, Value]:
    """Return the objects that are not refused."""
    found: dict[Key, Value] = {}
    for path, value in configuration.items():
        key = parse_key(path.encode())
        assert key is not None
        decoded = decode("test", path.encode(), key, json.dumps(value).encode())
        if decoded.value is not None:
            found[key] = decoded.value
    return found


@settings(max_examples=examples(200), phases=[Phase.generate])  # to shrink takes longer than a test may
@given(configurations, some(Method.MASQ, Method.DROUTE, Method.TUNNEL))
def test_values_that_are_not_refused_are_taken_by_the_kernel_unchanged(
    kernel: NetlinkIpvs, configuration: Mapping[str, Mapping[str, Any]], method: Method
) -> None:
    table = Pipeline.of(good(configuration), Defaults(method=method)).table
    steps = list(diff(table, Table()))
    kernel.flush()

    assert kernel.apply(steps) == [0] * len(steps)

    assert kernel.read() == table
