"""Routes, and the backends that meet at one real server, as the kernel gets them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.system.support.node import Node, Tree, saved, table

pytestmark = pytest.mark.ipvs

FRONTEND = {"ipv4": "10.107.107.107", "ipv6": "fd00:107::107", "tcp": 1337}
WEB = """\
-A -t 10.107.107.107:1337 -s wlc
-A -t [fd00:107::107]:1337 -s wlc
"""


def backend(ipv4: str = "", ipv6: str = "", tcp: int = 1337, weight: int = 10) -> Mapping[str, Any]:
    return {"ipv4": ipv4, "ipv6": ipv6, "tcp": tcp, "weight": weight}


def test_longest_prefix_decides_how_a_backend_is_reached(live: tuple[Node, Tree]) -> None:
    node, tree = live
    tree.put("routes/masq", {"Prefix": "10.3.1.0/24", "IPVSMethod": "masq"})
    tree.put("routes/droute", {"Prefix": "10.3.2.0/24", "IPVSMethod": "droute"})
    tree.put("routes/tunnel", {"Prefix": "10.3.3.9/24", "IPVSMethod": "tunnel"})
    tree.put("routes/tunnel6", {"Prefix": "fd00:3::/64", "IPVSMethod": "tunnel"})
    tree.put("routes/gateway", {"Prefix": "10.3.4.0/24", "Gateway": "10.9.0.4", "IPVSMethod": "masq"})
    tree.put("routes/gateway-narrow", {"Prefix": "10.3.4.128/25", "Gateway": "10.9.0.5", "IPVSMethod": "droute"})
    tree.put("routes/none", {"Prefix": "10.3.5.0/24"})
    tree.put("routes/other-family", {"Prefix": "10.3.6.0/24", "Gateway": "fd00:9::6", "IPVSMethod": "tunnel"})
    tree.put("routes/other-family6", {"Prefix": "fd00:6::/64", "Gateway": "10.9.0.6", "IPVSMethod": "tunnel"})
    tree.put("routes/impossible", {"Prefix": "10.3.7.0/24", "Gateway": "fd00:9::7", "IPVSMethod": "masq"})
    addresses = {n: f"10.3.{n}.1" for n in range(1, 9)} | {40: "10.3.4.129"}
    backends = {f"b{n}": backend(address, tcp=8080) for n, address in addresses.items()}
    tree.service("web", FRONTEND, **backends, six=backend(ipv6="fd00:3::1"), six6=backend(ipv6="fd00:6::1"))

    node.wait_for_table(
        WEB
        + """\
-a -t 10.107.107.107:1337 -r 10.3.1.1:8080 -m -w 10
-a -t 10.107.107.107:1337 -r 10.3.2.1:1337 -g -w 10
-a -t 10.107.107.107:1337 -r 10.3.3.1:1337 -i -w 10 --tun-type ipip
-a -t 10.107.107.107:1337 -r 10.3.8.1:8080 -m -w 10
-a -t 10.107.107.107:1337 -r 10.9.0.4:1337 -m -w 10
-a -t 10.107.107.107:1337 -r 10.9.0.5:1337 -g -w 10
-a -t 10.107.107.107:1337 -r [fd00:9::6]:1337 -i -w 10 --tun-type ipip
-a -t [fd00:107::107]:1337 -r 10.9.0.6:1337 -i -w 10 --tun-type ipip
-a -t [fd00:107::107]:1337 -r [fd00:3::1]:1337 -i -w 10 --tun-type ipip
"""
    )
    assert "services/web/backends/b7: skipped" in node.log
    assert "services/web/backends/b2: port 8080 replaced by 1337" in node.log

    tree.put("routes/default", {"IPVSMethod": "droute"})
    tree.remove("routes/gateway-narrow")
    node.wait_for_table(
        WEB
        + """\
-a -t 10.107.107.107:1337 -r 10.3.1.1:8080 -m -w 10
-a -t 10.107.107.107:1337 -r 10.3.2.1:1337 -g -w 10
-a -t 10.107.107.107:1337 -r 10.3.3.1:1337 -i -w 10 --tun-type ipip
-a -t 10.107.107.107:1337 -r 10.3.8.1:1337 -g -w 10
-a -t 10.107.107.107:1337 -r 10.9.0.4:1337 -m -w 20
-a -t 10.107.107.107:1337 -r [fd00:9::6]:1337 -i -w 10 --tun-type ipip
-a -t [fd00:107::107]:1337 -r 10.9.0.6:1337 -i -w 10 --tun-type ipip
-a -t [fd00:107::107]:1337 -r [fd00:3::1]:1337 -i -w 10 --tun-type ipip
"""
    )


def test_default_route_covers_both_families_and_without_method_skips_all_backends(live: tuple[Node, Tree]) -> None:
    node, tree = live
    tree.service("web", FRONTEND, b=backend("10.3.1.1", "fd00:3::1"))
    tree.put("routes/default", {"IPVSMethod": "tunnel"})
    node.wait_for_table(
        WEB
        + """\
-a -t 10.107.107.107:1337 -r 10.3.1.1:1337 -i -w 10 --tun-type ipip
-a -t [fd00:107::107]:1337 -r [fd00:3::1]:1337 -i -w 10 --tun-type ipip
"""
    )

    tree.put("routes/default", {})
    node.wait_for_table(WEB)


def test_backends_behind_one_gateway_are_one_real_server_with_the_sum_of_their_weights(
    live: tuple[Node, Tree],
) -> None:
    node, tree = live
    tree.put("routes/gateway", {"Prefix": "10.3.0.0/16", "Gateway": "10.9.0.4", "IPVSMethod": "masq"})
    tree.service("web", {"ipv4": "10.1.0.1", "tcp": 80}, b1=backend("10.3.1.1"), b2=backend("10.3.1.2", weight=20))
    tree.service("api", {"ipv4": "10.1.0.2", "tcp": 80}, b1=backend("10.3.1.1", weight=40000))
    tree.put("services/api/backends/b2", backend("10.3.1.2", weight=40000))
    services = "-A -t 10.1.0.1:80 -s wlc\n-A -t 10.1.0.2:80 -s wlc\n"
    api = "-a -t 10.1.0.2:80 -r 10.9.0.4:80 -m -w 65535\n"
    node.wait_for_table(f"{services}{api}-a -t 10.1.0.1:80 -r 10.9.0.4:80 -m -w 30")

    tree.put("services/web/backends/b1", backend("10.3.1.1", weight=0))
    node.wait_for_table(f"{services}{api}-a -t 10.1.0.1:80 -r 10.9.0.4:80 -m -w 20")

    tree.remove("services/web/backends/b2")
    node.wait_for_table(f"{services}{api}-a -t 10.1.0.1:80 -r 10.9.0.4:80 -m -w 0")

    tree.remove("services/api/backends/b1")
    node.wait_for_table(
        f"{services}-a -t 10.1.0.2:80 -r 10.9.0.4:80 -m -w 40000\n-a -t 10.1.0.1:80 -r 10.9.0.4:80 -m -w 0"
    )


def test_lowest_service_name_owns_a_virtual_server_that_two_claim(live: tuple[Node, Tree]) -> None:
    node, tree = live
    virtual = "-A -t 10.1.0.1:80 -s wlc\n"
    tree.service("b", {"ipv4": "10.1.0.1", "tcp": 80}, one=backend("10.3.1.1", tcp=80))
    node.wait_for_table(f"{virtual}-a -t 10.1.0.1:80 -r 10.3.1.1:80 -m -w 10")

    tree.service("a", {"ipv4": "10.1.0.1", "tcp": 80}, two=backend("10.3.1.2", tcp=80))
    node.wait_for_table(f"{virtual}-a -t 10.1.0.1:80 -r 10.3.1.2:80 -m -w 10")
    node.wait_for_log("services/b/frontend: .* belongs to service a")

    tree.remove("services/a")
    node.wait_for_table(f"{virtual}-a -t 10.1.0.1:80 -r 10.3.1.1:80 -m -w 10")


def test_routes_come_only_from_filtered_sources_and_later_sources_win(namespace: None, tmp_path: Path) -> None:
    first, second = Tree(tmp_path / "first"), Tree(tmp_path / "second")
    first.service("web", {"ipv4": "10.1.0.1", "tcp": 80}, b=backend("10.3.1.1", tcp=80))
    first.put("routes/r", {"Prefix": "10.3.0.0/16", "IPVSMethod": "droute"})
    second.put("services/web/backends/b", backend("10.3.1.2", tcp=80))
    second.put("routes/r", {"Prefix": "10.3.0.0/16", "IPVSMethod": "tunnel"})
    node = Node(tmp_path, first, second)

    assert node.once() == 0
    assert saved() == table("-A -t 10.1.0.1:80 -s wlc\n-a -t 10.1.0.1:80 -r 10.3.1.2:80 -i -w 10 --tun-type ipip")

    assert node.once("--filter-routes", first.url) == 0
    assert node.only_table == saved() == table("-A -t 10.1.0.1:80 -s wlc\n-a -t 10.1.0.1:80 -r 10.3.1.2:80 -g -w 10")

    assert node.once("--filter-routes", "etcd://", "--ipvs-forward-method", "droute", "--ipvs-scheduler", "rr") == 0
    assert saved() == table("-A -t 10.1.0.1:80 -s rr\n-a -t 10.1.0.1:80 -r 10.3.1.2:80 -g -w 10")
