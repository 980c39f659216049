from pathlib import Path
from socket import AF_INET, AF_INET6, AF_NETLINK, AF_PACKET, AF_UNIX

import pytest

from actors import node
from clusterf.host.capabilities import CAP_NET_ADMIN, CAP_NET_RAW
from tests.actors.support.some_settings import some_settings

NETLINK_ROUTE, NETLINK_GENERIC = 0, 16


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"roles": ("ipvs",)}, ["config", "health", "director"]),
        ({"roles": ("ipvs",), "health_processes": 3}, ["config", "health1", "health2", "health3", "director"]),
        ({"roles": ("docker",)}, ["docker"]),
        ({"roles": ("docker", "ipvs")}, ["config", "health", "director", "docker"]),
    ],
)
def test_processes_of_each_role_are_in_the_order_of_the_data_flow(changes, names):
    assert node.children_of(some_settings(**{"vip_interface": None} | changes)) == names


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"roles": ("ipvs",), "health_processes": 2}, {"health1", "health2", "docker"}),
        ({"roles": ("docker", "ipvs")}, {"health", "docker"}),
        ({"roles": ("docker",)}, set()),
        ({"roles": ("ipvs",), "once": True}, set()),
    ],
)
def test_director_and_configuration_are_what_a_node_cannot_do_without(changes, names):
    assert node.dispensable_of(some_settings(**changes)) == names


def test_configuration_and_verdicts_have_links_to_all_that_follow_them():
    settings = some_settings(roles=("ipvs", "docker"), health_processes=2)
    assert node.links_of(settings) == [
        node.Link("config", "config", "health1"),
        node.Link("config", "config", "health2"),
        node.Link("config", "config", "director"),
        node.Link("health1", "health1", "director"),
        node.Link("health2", "health2", "director"),
    ]
    assert node.links_of(some_settings(roles=("docker",))) == []


@pytest.mark.parametrize(
    ("name", "changes", "capabilities"),
    [
        ("config", {}, set()),
        ("docker", {}, set()),
        ("health2", {"health_processes": 2}, set()),
        ("director", {}, {CAP_NET_ADMIN}),
        ("director", {"vip_interface": "eth0"}, {CAP_NET_ADMIN, CAP_NET_RAW}),
        ("director", {"vip_interface": "eth0", "noop": True}, {CAP_NET_ADMIN}),
    ],
)
def test_process_keeps_only_the_capabilities_that_it_needs(name, changes, capabilities):
    assert node.child_of(name, some_settings(**{"vip_interface": None} | changes)).capabilities == capabilities


@pytest.mark.parametrize(
    ("name", "changes", "families", "netlink"),
    [
        ("health", {}, {AF_INET, AF_INET6}, set()),
        ("config", {}, {AF_UNIX, AF_INET, AF_INET6, AF_NETLINK}, {NETLINK_ROUTE}),
        ("director", {}, {AF_UNIX, AF_INET, AF_INET6, AF_NETLINK}, {NETLINK_ROUTE, NETLINK_GENERIC}),
        (
            *("director", {"vip_interface": "eth0"}),
            *({AF_UNIX, AF_INET, AF_INET6, AF_NETLINK, AF_PACKET}, {NETLINK_ROUTE, NETLINK_GENERIC}),
        ),
    ],
)
def test_process_opens_only_the_sockets_that_it_needs(name, changes, families, netlink):
    sockets = node.child_of(name, some_settings(**{"vip_interface": None} | changes)).sockets
    assert (sockets.families, sockets.netlink, sockets.listens) == (families, netlink, False)


def test_every_process_has_a_package_that_starts_it():
    for name in ("config", "director", "docker", "health"):
        assert Path(node.__file__).with_name(name).joinpath("process.py").is_file()
