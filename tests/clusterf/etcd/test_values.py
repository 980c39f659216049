from clusterf.etcd.values import Oversized, bounded, oversized


def test_value_at_the_limit_is_taken_and_one_over_it_is_not():
    assert bounded(b"1234", 4) == b"1234"
    assert bounded(b"12345", 4) == Oversized(5, 4, "--etcd-max-value")


def test_reason_names_what_is_known():
    assert oversized(300, 4).reason == "300 bytes are too many, the limit is 4 (--etcd-max-value)"
    assert oversized(0, 4).reason == "too many bytes, the limit is 4 (--etcd-max-value)"
    assert Oversized(300, 4).reason == "300 bytes are too many, the limit is 4"
