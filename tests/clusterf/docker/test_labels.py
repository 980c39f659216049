import time
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from clusterf.config.decode import decode
from clusterf.config.encode import to_json
from clusterf.config.model import Backend, BackendCheck, BackendKey, HealthCheck
from clusterf.docker.addresses import ContainerAddress
from clusterf.docker.containers import Published, container_of
from clusterf.docker.labels import (
    MAX_NAME,
    MAX_PROBLEMS,
    MAX_SERVICES,
    NO_RULES,
    LabelRules,
    Report,
    backends_at,
    parse,
)
from clusterf.lib.addresses import Protocol
from tests.clusterf.support.fake_engine import inspect

FOUR, SIX = IPv4Address("172.17.0.2"), IPv6Address("fd00::2")
HOST4, HOST6 = IPv4Address("192.0.2.1"), IPv6Address("2001:db8::1")
ALL = ("80/tcp", "81/tcp", "53/udp", "9/sctp")
WEB = {"service": "web", "backend.tcp": "80"}


def read(labels, exposed=ALL, name="/web", rules=NO_RULES):
    """Return the parsed labels, and the problems as lines."""
    report = Report(name.removeprefix("/"))
    parsed = parse(container_of(inspect(labels=labels, exposed=exposed, name=name)), report, rules)
    return parsed, [str(problem) for problem in report.problems]


@pytest.mark.parametrize(
    ("labels", "backends"),
    [
        (WEB, {"web": Backend(tcp=80)}),
        ({"service": "dns", "backend.udp": "53"}, {"dns": Backend(udp=53)}),
        ({"service": "x", "backend.sctp": "9"}, {"x": Backend(sctp=9)}),
        (
            {"service": "x", "backend.tcp": "80", "backend.udp": "53", "backend.sctp": "9"},
            {"x": Backend(tcp=80, udp=53, sctp=9)},
        ),
        (WEB | {"backend.weight": "20"}, {"web": Backend(tcp=80, weight=20)}),
        (WEB | {"backend.weight": "0"}, {"web": Backend(tcp=80, weight=0)}),
        (WEB | {"backend.weight": "65535"}, {"web": Backend(tcp=80, weight=65535)}),
        (WEB | {"backend.weight": ""}, {"web": Backend(tcp=80)}),
        (WEB | {"service": "web api"}, {"web": Backend(tcp=80), "api": Backend(tcp=80)}),
        (WEB | {"service": " web\t\n api  web "}, {"web": Backend(tcp=80), "api": Backend(tcp=80)}),
        (
            WEB | {"service": "web api", "backend:api.tcp": "81"},
            {"web": Backend(tcp=80), "api": Backend(tcp=81)},
        ),
        (
            {"service": "web dns", "backend:web.tcp": "80", "backend:dns.udp": "53"},
            {"web": Backend(tcp=80), "dns": Backend(udp=53)},
        ),
        (
            WEB | {"service": "web api", "backend.weight": "5", "backend:api.weight": "7"},
            {"web": Backend(tcp=80, weight=5), "api": Backend(tcp=80, weight=7)},
        ),
        (
            WEB | {"service": "web dns", "backend:dns.tcp": "", "backend:dns.udp": "53"},
            {"web": Backend(tcp=80), "dns": Backend(udp=53)},
        ),
        (WEB | {"backend.tcp": " 80\n"}, {"web": Backend(tcp=80)}),
        (WEB | {"backend.tcp": "0080"}, {"web": Backend(tcp=80)}),
        (WEB | {"service": "a.b:c", "backend:a.b:c.tcp": "81"}, {"a.b:c": Backend(tcp=81)}),
        (WEB | {"service": "\x1b[31m"}, {"\x1b[31m": Backend(tcp=80)}),
        (WEB | {"service": "dvůr 負荷"}, {"dvůr": Backend(tcp=80), "負荷": Backend(tcp=80)}),
        (WEB | {"network": "front"}, {"web": Backend(tcp=80)}),
    ],
)
def test_labels_make_backends(labels, backends):
    parsed, problems = read(labels)
    assert parsed.backends == backends
    assert list(parsed.backends) == list(backends)
    assert problems == []


@pytest.mark.parametrize(
    ("labels", "backends", "line"),
    [
        ({"backend.tcp": "80"}, {}, "docker: web: service: no service named"),
        ({"service": "  ", "backend.tcp": "80"}, {}, "docker: web: service: no service named"),
        ({"service": "web"}, {}, "docker: web: service: no port label for service web"),
        (WEB | {"backend.tcp": ""}, {}, "docker: web: service: no port label for service web"),
        (WEB | {"backend.tcp": "8080"}, {}, "docker: web: backend.tcp: port 8080/tcp is not exposed"),
        (WEB | {"backend.tcp": "53"}, {}, "docker: web: backend.tcp: port 53/tcp is not exposed"),
        (
            WEB | {"backend.udp": "54"},
            {"web": Backend(tcp=80)},
            "docker: web: backend.udp: port 54/udp is not exposed",
        ),
        (
            WEB | {"service": "web api", "backend:api.tcp": "82"},
            {"web": Backend(tcp=80)},
            "docker: web: backend:api.tcp: port 82/tcp is not exposed",
        ),
        (WEB | {"backend.tcp": "http"}, {}, "docker: web: backend.tcp: not a number: http"),
        (WEB | {"backend.tcp": "-80"}, {}, "docker: web: backend.tcp: not a number: -80"),
        (WEB | {"backend.tcp": "8_0"}, {}, "docker: web: backend.tcp: not a number: 8_0"),
        (WEB | {"backend.tcp": "٨٠"}, {}, "docker: web: backend.tcp: not a number: ٨٠"),
        (WEB | {"backend.tcp": "80 81"}, {}, "docker: web: backend.tcp: not a number: 80 81"),
        (WEB | {"backend.tcp": "0"}, {}, "docker: web: backend.tcp: Expected `int` >= 1"),
        (WEB | {"backend.tcp": "65536"}, {}, "docker: web: backend.tcp: Expected `int` <= 65535"),
        (WEB | {"backend.weight": "65536"}, {}, "docker: web: backend.weight: Expected `int` <= 65535"),
        (WEB | {"backend.weight": "1e3"}, {}, "docker: web: backend.weight: not a number: 1e3"),
        (
            WEB | {"service": "web api", "backend:api.weight": "x"},
            {"web": Backend(tcp=80)},
            "docker: web: backend:api.weight: not a number: x",
        ),
        (
            WEB | {"service": "a/b web"},
            {"web": Backend(tcp=80)},
            "docker: web: service: invalid service name (a path): a/b",
        ),
        (WEB | {"service": ".."}, {}, "docker: web: service: invalid service name (a path): .."),
        (WEB | {"service": "."}, {}, "docker: web: service: invalid service name (a path): ."),
        (
            WEB | {"service": "w\ud800"},
            {},
            r"docker: web: service: invalid service name (not UTF-8): w\ud800",
        ),
        (WEB | {"backend.tpc": "80"}, {"web": Backend(tcp=80)}, "docker: web: backend.tpc: unknown label"),
        (WEB | {"services": "80"}, {"web": Backend(tcp=80)}, "docker: web: services: unknown label"),
        (WEB | {"backend": "80"}, {"web": Backend(tcp=80)}, "docker: web: backend: unknown label"),
        (WEB | {"Backend.udp": "80"}, {"web": Backend(tcp=80)}, "docker: web: Backend.udp: unknown label"),
        (WEB | {"backend:web": "80"}, {"web": Backend(tcp=80)}, "docker: web: backend:web: unknown label"),
        (
            WEB | {"backend:api.tcp": "80"},
            {"web": Backend(tcp=80)},
            "docker: web: backend:api.tcp: for a service that is not in the service label",
        ),
        (
            WEB | {"backend:.tcp": "80"},
            {"web": Backend(tcp=80)},
            "docker: web: backend:.tcp: for a service that is not in the service label",
        ),
    ],
)
def test_invalid_label_is_reported_and_affects_no_other(labels, backends, line):
    parsed, problems = read(labels)
    assert parsed.backends == backends
    assert problems == [line]


@pytest.mark.parametrize(
    ("labels", "fatal"),
    [
        (WEB | {"backend.tcp": "x"}, True),
        (WEB | {"backend.udp": "54"}, True),
        (WEB | {"service": "a/b"}, True),
        (WEB | {"health": "x"}, True),
        (WEB | {"health": '{"color": 1}'}, False),
        (WEB | {"colour": "x"}, False),
        (WEB | {"backend:api.tcp": "80"}, False),
    ],
)
def test_only_problems_that_take_something_away_are_fatal(labels, fatal):
    report = Report("web")
    parse(container_of(inspect(labels=labels, exposed=ALL)), report)
    assert [problem.fatal for problem in report.problems] == [fatal]


def test_each_of_several_problems_is_reported_once():
    labels = {"service": "a b", "backend.tcp": "x", "backend.weight": "y", "backend.udp": "1"}
    parsed, problems = read(labels)
    assert parsed.backends == {}
    assert sorted(problems) == [
        "docker: web: backend.tcp: not a number: x",
        "docker: web: backend.weight: not a number: y",
    ]


def test_check_is_that_of_each_backend_of_the_container():
    parsed, problems = read(WEB | {"service": "web api", "health": "http:/x"})
    check = BackendCheck(HealthCheck(type="http", path="/x"), "label")
    assert parsed.backends == dict.fromkeys(["web", "api"], Backend(tcp=80, health=check))
    assert problems == []


def test_backend_with_an_invalid_check_says_so():
    parsed, problems = read(WEB | {"health": "ping"})
    assert parsed.backends == {"web": Backend(tcp=80, health=BackendCheck(origin="invalid"))}
    assert len(problems) == 1


def test_services_that_match_no_pattern_are_reported_and_left_out():
    rules = LabelRules(services=("team-a-*", "we?"))
    labels = WEB | {"service": "web team-a-x Team-a-y api", "backend:api.tcp": "81"}
    parsed, problems = read(labels, rules=rules)
    assert list(parsed.backends) == ["web", "team-a-x"]
    assert problems == [
        "docker: web: service: service Team-a-y is not allowed (--docker-services)",
        "docker: web: service: service api is not allowed (--docker-services)",
    ]


def test_weight_over_the_limit_is_reduced_and_reported():
    rules = LabelRules(max_weight=50)
    labels = WEB | {"service": "web api", "backend.weight": "65535", "backend:api.weight": "50"}
    parsed, problems = read(labels, rules=rules)
    assert {name: backend.weight for name, backend in parsed.backends.items()} == {"web": 50, "api": 50}
    assert problems == ["docker: web: backend.weight: 65535 is more than --docker-max-weight, using 50"]
    parsed, problems = read(WEB, rules=LabelRules(max_weight=5))
    assert (parsed.backends["web"].weight, problems) == (5, [])


def test_services_beyond_the_limit_are_dropped():
    names = [f"s{n}" for n in range(MAX_SERVICES + 1)]
    parsed, problems = read(WEB | {"service": " ".join(names[:-1])})
    assert (list(parsed.backends), problems) == (names[:-1], [])
    parsed, problems = read(WEB | {"service": " ".join(names)})
    assert list(parsed.backends) == names[:-1]
    assert problems == ["docker: web: service: too many services: 1001, limit 1000"]


def test_repeated_services_count_once():
    names = [f"s{n}" for n in range(MAX_SERVICES)]
    parsed, problems = read(WEB | {"service": " ".join(names + names)})
    assert (list(parsed.backends), problems) == (names, [])


def test_problem_of_many_services_is_reported_once():
    names = " ".join(f"s{n}" for n in range(100))
    unknown = {f"label{n:03}": "x" for n in range(MAX_PROBLEMS - 1)}
    _, problems = read(unknown | {"service": names, "backend.tcp": "x"})
    assert len(problems) == MAX_PROBLEMS
    assert problems[-1] == "docker: web: backend.tcp: not a number: x"


def test_service_name_is_limited_in_bytes():
    parsed, problems = read(WEB | {"service": "ů" * (MAX_NAME // 2) + "x " + "y" * (MAX_NAME + 1)})
    assert [len(name.encode()) for name in parsed.backends] == [MAX_NAME]
    assert problems == [f"docker: web: service: invalid service name (256 bytes, limit 255): {'y' * 100}"]


def test_problems_beyond_the_limit_are_counted():
    _, problems = read(WEB | {f"label{n:03}": "x" for n in range(100)})
    assert problems[0] == "docker: web: label000: unknown label"
    assert len(problems) == MAX_PROBLEMS + 1
    assert problems[-1] == "docker: web: and 80 more problems"


def test_hostile_labels_cost_little_time_and_memory():
    many = {f"backend:s{n}.{field}": "9" * 10**4 for n in range(1000) for field in ("tcp", "udp", "sctp", "weight")}
    labels = many | {"service": " ".join(f"s{n}" for n in range(10**5)), "health": "{" * 10**6, "x" * 10**6: "y"}
    container = container_of(inspect(labels=labels, exposed=["1-65535/tcp", "1-65535/udp"]))
    report = Report("\x1b" * 10**5)
    began = time.process_time()
    parsed = parse(container, report)
    assert time.process_time() - began < 2
    assert parsed.backends == {}
    assert all(len(p.field) <= 100 and len(p.reason) < 200 and len(str(p)) < 2000 for p in report.problems)


words = st.text(max_size=8) | st.sampled_from(
    ["80", "web", "web api", "tcp", "http:/", "{}", '{"type":', "\ud800", "/"]
)
labels = st.dictionaries(
    st.sampled_from(["service", "network", "health", "backend.tcp", "backend.udp", "backend.weight", "backend:web.tcp"])
    | st.text(max_size=12)
    | st.builds("backend:{}.{}".format, st.sampled_from(["web", "api", ""]), st.sampled_from(["tcp", "weight", ""])),
    words,
)


@given(labels, st.sampled_from([None, ContainerAddress("n", FOUR), ContainerAddress("n", None, SIX)]))
@example(WEB | {"health": "tcp"}, ContainerAddress("n", FOUR, SIX))
def test_any_labels_make_valid_configuration(labels, address):
    report = Report("web")
    parsed = parse(container_of(inspect(labels=labels, exposed=ALL)), report)
    at_host = ContainerAddress(published=(Published(Protocol.TCP, 80, "", 1),), ipv4=HOST4)
    backends = backends_at(address or at_host, parsed, report)
    for service, backend in backends.items():
        name = service.encode()
        assert name
        assert b"/" not in name
        decoded = decode("etcd", b"", BackendKey(name, b"c1"), to_json(backend))
        assert (decoded.value, decoded.problems) == (backend, ())
        assert backend.ipv4 or backend.ipv6
        assert backend.tcp or backend.udp or backend.sctp
    assert all("\n" not in str(problem) for problem in report.problems)


@pytest.mark.parametrize(
    "address", [ContainerAddress("n", FOUR), ContainerAddress("n", None, SIX), ContainerAddress("n", FOUR, SIX)]
)
def test_backend_has_the_addresses_of_its_container(address):
    parsed, _ = read(WEB | {"backend.udp": "53"})
    report = Report("web")
    assert backends_at(address, parsed, report) == {
        "web": Backend(ipv4=address.ipv4, ipv6=address.ipv6, tcp=80, udp=53)
    }
    assert report.problems == ()


def published(*ends):
    """Return the ports that such as `80/tcp 0.0.0.0 32768` names."""
    rows = [end.split(" ") for end in ends]
    return tuple(Published(Protocol[p.split("/")[1].upper()], int(p.split("/")[0]), at, int(to)) for p, at, to in rows)


NOT_80 = "docker: web: port 80/tcp is not published at a host address"
NOT_53 = "docker: web: port 53/udp is not published at a host address"


@pytest.mark.parametrize(
    ("labels", "ends", "backend", "lines"),
    [
        ({}, ["80/tcp 0.0.0.0 1", "80/tcp :: 1"], Backend(ipv4=HOST4, ipv6=HOST6, tcp=1), []),
        ({}, ["80/tcp  1"], Backend(ipv4=HOST4, ipv6=HOST6, tcp=1), []),
        ({}, ["80/tcp 0.0.0.0 1"], Backend(ipv4=HOST4, tcp=1), []),
        ({}, ["80/tcp :: 1"], Backend(ipv6=HOST6, tcp=1), []),
        ({}, ["80/tcp 192.0.2.1 1"], Backend(ipv4=HOST4, tcp=1), []),
        ({}, ["80/tcp 2001:db8::1 1"], Backend(ipv6=HOST6, tcp=1), []),
        ({}, ["80/tcp 127.0.0.1 1", "80/tcp ::1 1"], None, [NOT_80]),
        ({}, ["80/tcp 192.0.2.2 1"], None, [NOT_80]),
        ({}, ["80/udp 0.0.0.0 1", "81/tcp 0.0.0.0 1"], None, [NOT_80]),
        ({}, ["80/tcp 0.0.0.0 1", "80/tcp 0.0.0.0 2"], Backend(ipv4=HOST4, tcp=1), []),
        ({}, ["80/tcp 127.0.0.1 1", "80/tcp 192.0.2.1 2"], Backend(ipv4=HOST4, tcp=2), []),
        (
            {},
            ["80/tcp 0.0.0.0 1", "80/tcp :: 2"],
            Backend(ipv4=HOST4, tcp=1),
            ["docker: web: published at other ports of 2001:db8::1 than of 192.0.2.1: using 192.0.2.1"],
        ),
        (
            {"backend.udp": "53"},
            ["80/tcp 0.0.0.0 1", "53/udp 0.0.0.0 2"],
            Backend(ipv4=HOST4, tcp=1, udp=2),
            [],
        ),
        ({"backend.udp": "53"}, ["80/tcp 0.0.0.0 1"], Backend(ipv4=HOST4, tcp=1), [NOT_53]),
        ({"backend.udp": "53"}, ["53/udp :: 1"], Backend(ipv6=HOST6, udp=1), [NOT_80]),
    ],
)
def test_backend_at_the_host_has_the_published_port(labels, ends, backend, lines):
    parsed, _ = read(WEB | labels)
    report = Report("web")
    address = ContainerAddress(ipv4=HOST4, ipv6=HOST6, published=published(*ends))
    assert backends_at(address, parsed, report) == ({"web": backend} if backend else {})
    assert [str(problem) for problem in report.problems] == lines


def test_backend_at_a_host_with_one_address_has_only_that():
    parsed, _ = read(WEB)
    address = ContainerAddress(ipv4=HOST4, published=published("80/tcp  1"))
    assert backends_at(address, parsed, Report("web")) == {"web": Backend(ipv4=HOST4, tcp=1)}
