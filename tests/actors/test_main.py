"""The flags of `clusterf-node`: which are refused, and what settings they make, with the environment and a file."""

import msgspec
import pytest

from actors.settings import Settings
from tests.actors.support.invoking import invoke, settings_of
from tests.actors.support.web_tree import make_tree, node_flags


@pytest.fixture
def tree(tmp_path):
    return make_tree(tmp_path / "tree")


WRONG = {
    "no such flag": ["--unknown"],
    "an unknown role": ["--role", "cook"],
    "a bad URL": ["--config-source", "ftp://x"],
    "an URL that cannot be parsed": ["--config-source", "file://["],
    "a missing directory": ["--config-source", "file:///missing"],
    "a file for a directory": ["--config-source", "file:///etc/passwd"],
    "bytes that are not UTF-8 in an URL": ["--config-source", "file:///tmp/\udcff"],
    "bytes that are not UTF-8 in a directory": ["--state-dir", "STATE\udcff"],
    "a bad CIDR": ["--ipvs-exclude", "10.0.0.0/33"],
    "a bad scheduler": ["--ipvs-scheduler", "best"],
    "an unknown setting of IPVS": ["--ipvs-sysctl", "sync_version=1"],
    "a bad value of one": ["--ipvs-sysctl", "conn_reuse_mode=4"],
    "no name of an interface": ["--vip-interface", "eth0/1"],
    "two sync daemons of one role": ["--ipvs-sync", "both:eth1", "--ipvs-sync", "master:eth2"],
    "a bad method": ["--ipvs-forward-method", "walk"],
    "a bad level": ["--log-level", "loud"],
    "no number": ["--resync-interval", "soon"],
    "nan": ["--resync-interval", "nan"],
    "infinity": ["--once-timeout", "inf"],
    "a number out of range": ["--stuck-timeout", "0"],
    "no health process": ["--health-processes", "0"],
    "too many health processes": ["--health-processes", "65"],
    "half a health process": ["--health-processes", "0.5"],
    "a reference without a port": ["--health-reference", "192.0.2.1"],
    "a reference by name": ["--health-reference", "example.org:53"],
    "a reference that nobody is": ["--health-reference", "0.0.0.0:53"],
    "a file for the state directory": ["--state-dir", "/etc/passwd"],
    "a runtime directory that cannot be made": ["--runtime-dir", "/proc/x"],
    "a missing settings file": ["--config", "/missing.toml"],
    "a directory for a settings file": ["--config", "/etc"],
    "binary settings": ["--config", "/bin/true"],
}


@pytest.mark.parametrize("what", WRONG)
def test_wrong_usage_exits_with_2_and_one_error_line(monkeypatch, tmp_path, tree, what):
    arguments = [str(tmp_path / "s\udcff") if word == "STATE\udcff" else word for word in WRONG[what]]
    base = node_flags(tmp_path, "--noop", "--once", "--config-source", f"file://{tree}")
    result, settings = invoke(monkeypatch, *base, *arguments)
    assert (result.exit_code, result.stdout, settings) == (2, "", None)
    assert len([text for text in result.stderr.splitlines() if text.startswith("Error: ")]) == 1


@pytest.mark.parametrize("missing", ["--role", "--config-source"])
def test_missing_required_flag_is_named(monkeypatch, missing):
    given = {"--role": ["--config-source", "file:///"], "--config-source": ["--role", "ipvs"]}[missing]
    result, _ = invoke(monkeypatch, *given)
    assert result.exit_code == 2
    assert missing in result.stderr


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CLUSTERF_RESYNC_INTERVAL", "soon"),
        ("CLUSTERF_NOOP", "maybe"),
        ("CLUSTERF_IPVS_EXCLUDE", "x"),
        ("CLUSTERF_IPVS_SYNC", "master:eth1 master:eth1"),
        ("CLUSTERF_IPVS_SYSCTL", "sloppy_tcp=2"),
        ("CLUSTERF_HEALTH_PROCESSES", "many"),
        ("CLUSTERF_HEALTH_REFERENCE", "192.0.2.1:53 x"),
    ],
)
def test_wrong_environment_exits_with_2(monkeypatch, tmp_path, tree, name, value):
    result, settings = invoke(
        monkeypatch, *node_flags(tmp_path, "--once", "--config-source", f"file://{tree}"), **{name: value}
    )
    assert (result.exit_code, settings) == (2, None)
    assert "Error: " in result.stderr


# every setting, each with a value that is not its default
VALUES = {
    "role": ["ipvs", "ipvs"],
    "config-source": ["TREE", "etcd+https://192.0.2.7:2379/clusterf"],
    "filter-routes": "file://",
    "noop": True,
    "once": True,
    "once-timeout": 30,
    "print": True,
    "flush": True,
    "removal-hold": 7,
    "hold-share": 80,
    "hold-least": 3,
    "ipvs-scheduler": "rr",
    "ipvs-forward-method": "tunnel",
    "ipvs-elide": True,
    "ipvs-exclude": ["10.9.0.1/16", "fd00::/8"],
    "vip-policy": "strict",
    "ipvs-sync": ["master:eth1:7", "backup:eth2"],
    "ipvs-sysctl": "conntrack=1",
    "vip-interface": "lo",
    "health-processes": 2,
    "health-reference": ["192.0.2.1:53", "[2001:db8::1]:53"],
    "docker-endpoint": "unix:///run/docker.sock",
    "docker-network": "front",
    "docker-address": "host",
    "docker-services": ["team-a-*", "web"],
    "docker-max-weight": 100,
    "docker-label-checks": "full",
    "docker-stop-timeout": 30,
    "host-address": ["192.0.2.1", "fd00::1"],
    "route-network": ["front", "back"],
    "route-gateway4": "192.0.2.9",
    "route-gateway6": "fd00::9",
    "route-ipvs-method": "droute",
    "etcd-ttl": 20,
    "node-name": "docker7",
    "etcd-ca": "PLACE/ca.pem",
    "etcd-cert": "PLACE/cert.pem",
    "etcd-key": "PLACE/key.pem",
    "etcd-user": "node",
    "etcd-password-file": "PLACE/password",
    "etcd-insecure": True,
    "etcd-max-value": 4096,
    "health-deny": ["10.4.0.0/16", "::1/128"],
    "health-allow": ["127.0.0.1/32"],
    "health-methods": "GET,POST",
    "exit-flush": True,
    "resync-interval": 9,
    "stuck-timeout": 8,
    "state-dir": "PLACE/state",
    "runtime-dir": "PLACE/run",
    "user": "daemon",
    "probe-user": "nobody",
    "log-format": "json",
    "log-level": "error",
}
NO_DEFAULT = {"roles", "sources", "state_dir", "runtime_dir", "user", "probe_user"}


@pytest.fixture
def values(tmp_path, tree):
    def place(value):
        return value.replace("TREE", f"file://{tree}").replace("PLACE", str(tmp_path))

    for file in ("ca.pem", "cert.pem", "key.pem", "password"):
        (tmp_path / file).touch()
    return {
        name: place(value) if isinstance(value, str) else list(map(place, value)) if isinstance(value, list) else value
        for name, value in VALUES.items()
    }


def as_flags(values):
    for name, value in values.items():
        for one in value if isinstance(value, list) else [value]:
            yield from [f"--{name}"] if one is True else [f"--{name}", str(one)]


def as_environment(values):
    def text(value):
        return "1" if value is True else " ".join(value) if isinstance(value, list) else str(value)

    return {f"CLUSTERF_{name.upper().replace('-', '_')}": text(value) for name, value in values.items()}


def as_toml(values):
    return "".join(f"{name} = {msgspec.json.encode(value).decode()}\n" for name, value in values.items())


def comparable(settings):
    """The runtime directory of a node is a new one each time."""
    return msgspec.structs.replace(settings, runtime_dir="")


def test_every_setting_has_a_flag(monkeypatch, tmp_path, tree, values):
    default = settings_of(monkeypatch, *node_flags(tmp_path, "--config-source", f"file://{tree}", "--noop"))
    given = settings_of(monkeypatch, *as_flags(values))
    default = msgspec.structs.replace(default, noop=False)
    unchanged = {name for name in Settings.__struct_fields__ if getattr(given, name) == getattr(default, name)}
    assert unchanged - NO_DEFAULT == set()
    assert given.roles == ("ipvs",)
    assert given.ipvs_exclude == ("10.9.0.0/16", "fd00::/8")
    access = given.sources[1].etcd.credentials
    assert (access.password_file, access.insecure, access.max_value) == (str(tmp_path / "password"), True, 4096)


def test_environment_makes_the_same_settings_as_flags(monkeypatch, values):
    by_flags = settings_of(monkeypatch, *as_flags(values))
    by_environment = settings_of(monkeypatch, **as_environment(values))
    assert comparable(by_environment) == comparable(by_flags)


def test_settings_file_makes_the_same_settings_as_flags(monkeypatch, tmp_path, values):
    file = tmp_path / "node.toml"
    file.write_text(as_toml(values))
    by_file = settings_of(monkeypatch, "--config", file)
    assert comparable(by_file) == comparable(settings_of(monkeypatch, *as_flags(values)))


def test_flags_win_over_the_environment_over_the_settings_file(monkeypatch, tmp_path, values):
    file = tmp_path / "node.toml"
    file.write_text(as_toml(values))

    def scheduler(*flags, **environment):
        return settings_of(monkeypatch, "--config", file, *flags, **environment).ipvs_scheduler

    assert scheduler() == "rr"
    assert scheduler(CLUSTERF_IPVS_SCHEDULER="lc") == "lc"
    assert scheduler("--ipvs-scheduler", "sh", CLUSTERF_IPVS_SCHEDULER="lc") == "sh"


def test_file_of_etcd_that_is_unreadable_is_reported_with_its_flag(monkeypatch, tmp_path):
    flags = node_flags(tmp_path, "--config-source", "etcd://127.0.0.1:1/x", "--etcd-user", "u")
    result, settings = invoke(monkeypatch, *flags, "--etcd-password-file", "/missing/password")
    assert (result.exit_code, settings) == (2, None)
    assert "Error: --etcd-password-file: /missing/password: No such file or directory\n" in result.stderr
    assert "--config-source" not in result.stderr


def test_password_that_is_sent_unencrypted_is_a_warning(monkeypatch, tmp_path):
    def warned(url, *flags):
        flags = node_flags(tmp_path, "--config-source", url, "--etcd-user", "u", *flags)
        result, settings = invoke(monkeypatch, *flags)
        assert settings is not None
        return [line for line in result.stderr.splitlines() if "is sent unencrypted" in line]

    (line,) = warned("etcd://192.0.2.1/x")
    assert "etcd://192.0.2.1/x: the password of --etcd-user is sent unencrypted" in line
    assert warned("etcd://192.0.2.1/x", "--etcd-insecure") == []
    assert warned("etcd://127.0.0.1/x") == warned("etcd+https://192.0.2.1/x") == []


def test_settings_file_that_is_missing_is_named_once(monkeypatch):
    result, _ = invoke(monkeypatch, "--config", "/missing.toml")
    assert result.stderr.count("/missing.toml") == 1
    assert "/missing.toml: No such file or directory" in result.stderr


@pytest.mark.parametrize("path", ["/etc/passwd/x", "/proc/x"])
def test_state_directory_that_cannot_be_made_keeps_no_node_from_starting(monkeypatch, tmp_path, tree, path):
    flags = node_flags(tmp_path, "--noop", "--config-source", f"file://{tree}")
    assert settings_of(monkeypatch, *flags, "--state-dir", path).state_dir == path
