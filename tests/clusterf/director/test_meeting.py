import pytest

from clusterf.director.meeting import MAX_WEIGHT, merged, overruled
from clusterf.ipvs.table import Method, RealServerSettings, Tunnel, TunnelType
from tests.clusterf.support.reconciling import ONE

MOST = 2**31 - 1


def member(weight=10, upper=0, lower=0, method=Method.MASQ):
    return RealServerSettings(method, weight, upper, lower)


@pytest.mark.parametrize(
    ("members", "weight", "upper", "lower"),
    [
        ([member(10)], 10, 0, 0),
        ([member(0)], 0, 0, 0),
        ([member(10), member(20)], 30, 0, 0),
        ([member(10), member(0)], 10, 0, 0),
        ([member(0), member(0)], 0, 0, 0),
        ([member(65535), member(1)], MAX_WEIGHT, 0, 0),
        ([member(40000), member(40000), member(40000)], 65535, 0, 0),
        ([member(1, 9, 5)], 1, 9, 5),
        ([member(1, 9, 5), member(1, 1, 1)], 2, 10, 6),
        ([member(1, 9, 5), member(1, 9, 0)], 2, 18, 0),
        ([member(1, 9, 5), member(1, 0, 0)], 2, 0, 0),
        ([member(1, MOST, MOST), member(1, MOST, 1)], 2, MOST, MOST),
    ],
)
def test_weights_and_thresholds_add_up_to_at_most_the_limits_of_the_kernel(members, weight, upper, lower):
    assert merged(members, [True] * len(members)) == RealServerSettings(Method.MASQ, weight, upper, lower)


@pytest.mark.parametrize(
    ("in_rotation", "weight", "upper", "lower"),
    [
        ([True, True, False], 3, 12, 0),
        ([False, True, False], 2, 4, 2),
        ([True, False, True], 5, 0, 0),
        ([False, False, False], 0, 0, 0),
    ],
)
def test_only_members_in_rotation_add_to_the_weight_and_the_thresholds(in_rotation, weight, upper, lower):
    members = [member(1, 8, 0), member(2, 4, 2), member(4, 0, 0)]
    assert merged(members, in_rotation) == RealServerSettings(Method.MASQ, weight, upper, lower)


def test_real_server_without_members_in_rotation_differs_in_its_weight_only():
    assert merged([member(10, 8, 4)], [False]) == member(0, 8, 4)
    assert merged([member(10, 8, 4), member(10, 8, 4)], [False, False]) == member(0, 16, 8)


def test_method_is_that_of_the_first_member_in_rotation_or_not():
    members = [member(method=Method.TUNNEL), member(method=Method.MASQ)]
    assert merged(members, [True, True]).method is Method.TUNNEL
    assert merged(members, [False, True]).method is Method.TUNNEL


def test_backends_whose_method_or_tunnel_is_not_that_of_the_first_one_are_reported():
    gre = Tunnel(TunnelType.GRE)
    members = [
        RealServerSettings(Method.TUNNEL, 1),
        member(1),
        RealServerSettings(Method.TUNNEL, 1, 0, 0, gre),
        RealServerSettings(Method.TUNNEL, 2),
    ]
    found = [(problem.path, problem.reason) for problem in overruled(b"web", [b"1", b"2", b"3", b"4"], members, ONE)]
    assert found == [
        (b"services/web/backends/2", f"method ignored: {ONE} has that of backend 1"),
        (b"services/web/backends/3", f"tunnel ignored: {ONE} has that of backend 1"),
    ]
