import os
from contextlib import ExitStack
from pathlib import Path

import click
import pytest

from actors.supervision import privileges
from actors.supervision.privileges import Identities, Privileges, choose_identities
from clusterf.etcd.location import EtcdCredentials, parse_location
from clusterf.host.capabilities import CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CHANGING_USERS
from clusterf.host.users import User, Users
from clusterf.lib.files import trusted
from clusterf.sources.url import Source
from tests.actors.support.some_settings import some_settings

NODE, PROBE = User(60706, 60706), User(60707, 60707)
BOTH = frozenset({60706, 60707})
IDENTITIES = Identities(Users(NODE, PROBE), owners=Users(NODE, PROBE), trusted=BOTH)
ROOT = User(0, 0)


class FakeView:
    """A mount namespace, by its descriptor."""

    namespace = 42

    def close(self):
        pass


@pytest.fixture
def as_root(monkeypatch):
    """Started as root, with all capabilities, and users without names."""
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(privileges, "permitted", lambda: frozenset(CHANGING_USERS.values()))
    monkeypatch.setattr(privileges, "find_users", lambda *_: Users(NODE, PROBE))
    monkeypatch.setattr(privileges, "is_mapped", lambda _: True)
    monkeypatch.setattr(privileges, "first_closed", lambda *_: None)
    monkeypatch.setattr(trusted, "_others", set())


@pytest.fixture
def choose(tmp_path):
    with ExitStack() as stack:

        def choose(user=None, probe=None, *, noop=False):
            return choose_identities(user, probe, tmp_path / "state", tmp_path / "run", stack, noop=noop)

        yield choose


def test_root_starts_processes_of_other_users(as_root, choose, caplog):
    assert choose() == IDENTITIES
    assert trusted.owners() >= {60706, 60707}
    assert caplog.text == ""


def test_processes_of_a_node_that_root_did_not_start_stay_its_users(monkeypatch, choose, caplog):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert choose() == Identities()
    assert caplog.text == ""
    with pytest.raises(click.UsageError, match="--probe-user: only root can"):
        choose(probe="web")


def test_processes_stay_roots_without_a_capability_unless_a_user_was_given(as_root, monkeypatch, choose, caplog):
    held = frozenset(CHANGING_USERS.values()) - {CHANGING_USERS["CAP_SETUID"], CHANGING_USERS["CAP_KILL"]}
    monkeypatch.setattr(privileges, "permitted", lambda: held)
    assert choose() == Identities(owners=Users(ROOT, ROOT, BOTH, BOTH), trusted=BOTH)
    assert [record.getMessage() for record in caplog.records] == [
        "privileges: all processes run as root, with reduced capabilities: CAP_KILL, CAP_SETUID are missing"
    ]
    # what is theirs may be from an earlier start
    assert trusted.owners() >= {60706, 60707}
    with pytest.raises(click.UsageError, match="--user: CAP_KILL, CAP_SETUID are missing"):
        choose("web")


def test_processes_stay_roots_if_the_state_directory_has_other_things(as_root, monkeypatch, choose, caplog):
    monkeypatch.setattr(privileges, "foreign_in", lambda _: "node.toml\n")
    assert choose().users is None
    assert "state has node.toml\\x0a in it, which is not the node's" in caplog.text
    with pytest.raises(click.UsageError, match="which is not the node's"):
        choose(user="1234")
    assert choose(noop=True).users is not None


def test_directories_are_not_taken_back_where_root_cannot_do_that(as_root, monkeypatch, choose):
    monkeypatch.setattr(privileges, "permitted", lambda: frozenset({CAP_DAC_READ_SEARCH}))
    assert choose() == Identities(trusted=BOTH)


def test_users_have_to_exist_in_the_user_namespace(as_root, monkeypatch, choose, caplog):
    monkeypatch.setattr(privileges, "is_mapped", lambda user: user != PROBE)
    assert choose() == Identities(owners=Users(ROOT, ROOT, BOTH, BOTH), trusted=BOTH)
    assert "user 60706 or 60707 does not exist in this user namespace" in caplog.text


def test_directories_that_only_root_enters_are_shown_in_a_view(as_root, monkeypatch, choose, tmp_path):
    made = []
    monkeypatch.setattr(privileges, "first_closed", lambda path, user: Path("/root") if user == PROBE else None)
    monkeypatch.setattr(privileges, "MountView", lambda closed, shown: made.append((closed, shown)) or FakeView())
    assert choose().view.namespace == 42
    [(closed, shown)] = made
    assert closed == {Path("/root")}
    assert set(shown) >= {tmp_path / "state", tmp_path / "run", Path(privileges.actors.__path__[0])}


def test_processes_stay_roots_if_directories_cannot_be_shown(as_root, monkeypatch, choose, caplog):
    def fail(*_):
        raise PermissionError(1, "unshare: Operation not permitted")

    monkeypatch.setattr(privileges, "first_closed", lambda *_: Path("/root"))
    monkeypatch.setattr(privileges, "MountView", fail)
    assert choose() == Identities(owners=Users(ROOT, ROOT, BOTH, BOTH), trusted=BOTH), "what they had is root's again"
    assert choose(noop=True).owners is None
    assert "only root may enter /root, and it cannot be shown to them: unshare: Operation not permitted" in caplog.text


@pytest.mark.parametrize(("owner", "used", "chosen"), [(0, True, False), (0, False, True), (60706, True, True)])
def test_noop_leaves_a_directory_to_a_node_whose_processes_are_roots(
    as_root, monkeypatch, choose, tmp_path, owner, used, chosen
):
    (tmp_path / "state").mkdir()
    if used:
        (tmp_path / "state/config.db").touch()
    monkeypatch.setattr(privileges, "_owner", lambda _: owner)
    assert (choose(noop=True) == IDENTITIES) is chosen
    assert choose() == IDENTITIES


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """A tree that all may read, as it looks."""
    monkeypatch.setattr(privileges, "may_read_all", lambda path, _: "secret" not in str(path))
    monkeypatch.setattr(privileges, "may_read", lambda path, _: "secret" not in str(path))
    return Source("file:///tree", tree="/tree")


def etcd(**credentials):
    location = parse_location("etcd://h1:2379/clusterf", EtcdCredentials(**credentials))
    return Source("etcd://h1:2379/clusterf", etcd=location)


def confinement(name, identities=IDENTITIES, **changes):
    settings = some_settings(
        **{"vip_interface": None, "ipvs_sysctl": (), "runtime_dir": "/run/clusterf/node-1"} | changes
    )
    return Privileges(settings, identities, [7, 8]).launch(name).confinement


def test_health_processes_are_another_user_than_the_others(tree):
    users = {name: confinement(name, sources=(tree,)).user for name in ("config", "health", "health2", "director")}
    assert users == {"config": NODE, "health": PROBE, "health2": PROBE, "director": NODE}


def test_only_those_that_write_hold_the_locks(tree):
    held = Privileges(some_settings(vip_interface=None, sources=(tree,)), IDENTITIES, [7, 8])
    assert {name: held.launch(name).held for name in ("config", "health", "director")} == {
        "config": (),
        "health": (),
        "director": (7, 8),
    }


@pytest.mark.parametrize(
    ("sources", "needed"),
    [
        ((Source("file:///tree", tree="/tree"),), set()),
        ((Source("file:///secret", tree="/secret"),), {CAP_DAC_READ_SEARCH}),
        ((etcd(),), set()),
        ((etcd(ca="/etc/ca.pem"),), set()),
        ((etcd(user="node", password_file="/secret/password"),), {CAP_DAC_READ_SEARCH}),
        ((etcd(ca="/etc/ca.pem", cert="/etc/cert.pem", key="/secret/key.pem"),), {CAP_DAC_READ_SEARCH}),
    ],
)
def test_config_process_may_read_all_only_if_its_sources_need_that(tree, sources, needed):
    assert confinement("config", sources=sources).more == needed
    assert confinement("director", sources=sources).more == set()
    assert confinement("health", sources=sources).more == set()


def test_who_may_read_all_needs_no_view(tree):
    identities = IDENTITIES._replace(view=FakeView())
    secret = Source("file:///secret", tree="/secret")
    assert confinement("config", identities, sources=(tree,)).view == 42
    assert confinement("config", identities, sources=(secret,)).view is None
    assert confinement("health", identities, sources=(secret,)).view == 42


def test_processes_that_stay_roots_keep_what_they_had_before(tree):
    given = {name: confinement(name, Identities(), sources=(tree,)) for name in ("config", "health", "director")}
    assert {name: (one.user, set(one.more)) for name, one in given.items()} == {
        "config": (None, {CAP_DAC_READ_SEARCH}),
        "health": (None, set()),
        "director": (None, set()),
    }


@pytest.mark.parametrize(
    ("mode", "group", "groups", "more"),
    [
        (0o660, 998, (998,), set()),
        (0o666, 0, (0,), set()),
        (0o600, 0, (), {CAP_DAC_OVERRIDE}),
    ],
)
def test_docker_process_is_in_the_group_of_the_engines_socket(tree, tmp_path, monkeypatch, mode, group, groups, more):
    monkeypatch.setattr(privileges, "first_closed", lambda *_: None)
    monkeypatch.setattr(Path, "stat", lambda _: os.stat_result((mode, 0, 0, 1, 0, group, 0, 0, 0, 0)))
    given = confinement(
        "docker",
        IDENTITIES._replace(view=FakeView()),
        roles=("docker",),
        sources=(etcd(),),
        docker_endpoint=f"unix://{tmp_path}/docker.sock",
    )
    assert (given.user, set(given.more)) == (NODE._replace(groups=groups), more)
    # who overrides modes finds the socket where it is
    assert given.view == (None if more else 42)


def test_engine_that_is_not_there_yet_will_be_its_groups(tree, tmp_path, monkeypatch):
    monkeypatch.setattr(privileges, "first_closed", lambda *_: None)
    monkeypatch.setattr(privileges, "group_of", lambda name: {"docker": 998}[name])
    given = confinement(
        "docker", roles=("docker",), sources=(etcd(),), docker_endpoint=f"unix://{tmp_path}/docker.sock"
    )
    assert given.user == NODE._replace(groups=(998,))
    given = confinement("docker", roles=("docker",), sources=(etcd(),), docker_endpoint="tcp://engine:2376")
    assert given.user == NODE


def test_health_process_writes_only_in_its_own_directories(tree):
    given = confinement("health", sources=(tree,), state_dir="/var/lib/clusterf", runtime_dir="/tmp/run/node-1")
    assert given.writable == ("/var/lib/clusterf/probe", "/tmp/run/incomplete-probe")
    given = confinement("director", sources=(tree,), state_dir="/var/lib/clusterf", ipvs_sysctl=(("sloppy_tcp", 1),))
    assert given.writable == ("/proc/sys/net/ipv4/vs", "/var/lib", "/run/clusterf")


def test_of_a_directory_with_code_and_more_only_our_packages_are_shown(tmp_path, monkeypatch):
    (tmp_path / "installed/some.dist-info").mkdir(parents=True)
    (tmp_path / "clone").mkdir()
    monkeypatch.setattr(privileges.sys, "path", ["", str(tmp_path / "installed"), str(tmp_path / "clone")])
    shown = privileges.code_directories()
    assert tmp_path / "installed" in shown
    assert tmp_path / "clone" not in shown
    assert {Path(package.__path__[0]) for package in (privileges.actors, privileges.clusterf)} <= set(shown)


@pytest.mark.process
def test_what_another_user_may_have_written_is_not_read_for_ever(monkeypatch):
    monkeypatch.setattr(privileges, "_PATIENCE", 1)
    monkeypatch.setattr(privileges, "drop_all_but", lambda *_: None)
    assert privileges.holds_for(NODE, lambda: True)
    assert not privileges.holds_for(NODE, lambda: False)
    assert not privileges.holds_for(NODE, lambda: all(True for _ in iter(int, 1)))
    assert privileges.holds_for(None, lambda: True)
