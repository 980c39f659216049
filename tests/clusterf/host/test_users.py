import grp
import pwd

import pytest

from clusterf.host import users
from clusterf.host.users import User, find_users, group_of, has_user, is_mapped


def entry(name, uid, gid):
    return pwd.struct_passwd((name, "x", uid, gid, "", "/", "/bin/false"))


@pytest.fixture
def passwd(monkeypatch):
    entries = {"root": entry("root", 0, 0), "web": entry("web", 33, 34), "also-root": entry("also-root", 0, 0)}
    monkeypatch.setattr(pwd, "getpwnam", lambda name: entries[name])
    monkeypatch.setattr(pwd, "getpwall", lambda: list(entries.values()))
    monkeypatch.setattr(grp, "getgrall", lambda: [grp.struct_group(("some", "x", 60706, []))])
    return entries


def test_users_of_the_package_are_the_default(passwd):
    passwd["clusterf"], passwd["clusterf-probe"] = entry("clusterf", 901, 902), entry("clusterf-probe", 903, 904)
    assert find_users(None, None)[:2] == (User(901, 902), User(903, 904))


def test_without_them_ids_that_nobody_has_are_used_the_same_at_each_start(passwd):
    assert find_users(None, None) == find_users(None, None)
    assert find_users(None, None)[:2] == (User(60708, 60708), User(60707, 60707))


def test_ids_of_earlier_starts_are_known_and_never_the_other_ones(passwd):
    before = find_users(None, None)
    passwd["clusterf"], passwd["other"] = entry("clusterf", 901, 902), entry("other", 35, 35)
    for names in ((None, None), ("web", None), (None, "other"), ("web", "other")):
        users = find_users(*names)
        assert {901, before.node.uid} <= users.former_node
        assert before.probe.uid in users.former_probe
        assert users.former_node.isdisjoint(users.former_probe)


def test_given_users_are_used(passwd):
    passwd["other"] = entry("other", 35, 35)
    assert find_users("web", "other")[:2] == (User(33, 34), User(35, 35))


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        (("nobody-here", None), "no user nobody-here"),
        ((None, "also-root"), "also-root is root"),
        (("web", "web"), "must be another one"),
    ],
)
def test_users_that_cannot_be_used_are_refused(passwd, names, reason):
    with pytest.raises(ValueError, match=reason):
        find_users(*names)


@pytest.mark.parametrize(
    ("uid_map", "gid_map", "mapped"),
    [
        ("0 0 4294967295", "0 0 4294967295", True),
        ("0 1000 1", "0 1000 1", False),
        ("0 1000 1\n1 100000 65536", "0 1000 1\n1 100000 65536", True),
        ("0 0 4294967295", "0 0 60000", False),
    ],
)
def test_user_exists_in_a_user_namespace_that_maps_it(tmp_path, uid_map, gid_map, mapped):
    (tmp_path / "uid_map").write_text(uid_map)
    (tmp_path / "gid_map").write_text(gid_map)
    assert is_mapped(User(60706, 60706), process=tmp_path) is mapped


def test_every_user_exists_where_there_are_no_namespaces(tmp_path):
    assert is_mapped(User(60706, 60706), process=tmp_path)


def test_group_is_found_by_its_name():
    assert group_of("root") == 0
    assert group_of("no such group") is None


def test_user_is_found_by_its_name():
    assert has_user("root")
    assert not has_user("no such user")


def test_range_is_one_that_nobody_uses():
    assert users._FREE[0] > 60577
    assert users._FREE[-1] < 61184
