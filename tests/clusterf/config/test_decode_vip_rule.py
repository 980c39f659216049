from ipaddress import IPv4Network, IPv6Network

import pytest

from clusterf.config.decode import decode
from clusterf.config.model import VipKey, VipRule


def decoded(raw):
    found = decode("file:///x", b"vips/a", VipKey(b"a"), raw)
    return found.value, [(problem.field, problem.reason, problem.fatal) for problem in found.problems]


@pytest.mark.parametrize(
    ("raw", "rule"),
    [
        (
            b'{"prefix":"10.107.0.0/16","services":["team-a-*"]}',
            VipRule(IPv4Network("10.107.0.0/16"), None, ("team-a-*",)),
        ),
        (b'{"Prefix":"10.107.1.2/16","Services":[]}', VipRule(IPv4Network("10.107.0.0/16"))),
        (b'{"prefix":"10.107.1.2","services":[]}', VipRule(IPv4Network("10.107.1.2/32"))),
        (b'{"prefix":"fd00::1/8","services":["a","[b]"]}', VipRule(None, IPv6Network("fd00::/8"), ("a", "[b]"))),
        (b'{"prefix":"0.0.0.0/0","services":["*"]}', VipRule(IPv4Network("0.0.0.0/0"), None, ("*",))),
    ],
)
def test_rule_is_read(raw, rule):
    assert decoded(raw) == (rule, [])


NO_PREFIX = ("prefix", "needs a prefix", True)
NO_SERVICES = ("services", "needs a list of patterns; an empty one gives the prefix to no service", True)


@pytest.mark.parametrize(
    ("raw", "problems"),
    [
        (b"", [("", "empty", True)]),
        (b"{}", [NO_PREFIX, NO_SERVICES]),
        (b'{"prefix":"","services":["a"]}', [NO_PREFIX]),
        (b'{"prefix":"10.0.0.0/8","services":null}', [NO_SERVICES]),
        (b'{"prefix":"10.0.0.0/8","service":["a"]}', [("service", "unknown field", False), NO_SERVICES]),
        (b'{"prefix":"10.0.0.0/33","services":["a"]}', [("prefix", "'10.0.0.0/33' does not appear to be", True)]),
        (b'{"prefix":"10.0.0.0/8","services":"a"}', [("services", "Expected `array`, got `str`", True)]),
        (b'{"prefix":"10.0.0.0/8","services":["a",""]}', [("services", "an empty pattern", True)]),
        (b'{"prefix":"10.0.0.0/8","services":["a/b"]}', [("services", "no name holds a slash: a/b", True)]),
        (b'{"prefix":"10.0.0.0/8","services":["[b-a]"]}', [("services", "a range that is empty: b-a", True)]),
        (
            b'{"prefix":"10.0.0.0/8","services":[' + b",".join([b'"a"'] * 1001) + b"]}",
            [("services", "1001 patterns are too many, the limit is 1000", True)],
        ),
    ],
)
def test_invalid_rule_is_left_out(raw, problems):
    value, found = decoded(raw)
    assert value is None
    assert len(found) == len(problems)
    for (field, reason, fatal), problem in zip(found, problems, strict=True):
        assert (field, fatal) == (problem[0], problem[2])
        assert reason.startswith(problem[1])
