"""The flags of the role docker: what is refused, and why, before anything is started."""

import re

import pytest
from click.testing import CliRunner

from actors.main import main

ETCD = ["--config-source", "etcd://127.0.0.1:9/clusterf"]


def refused(tmp_path, *flags, env=None):
    """Return why a node is not started."""
    place = ["--state-dir", str(tmp_path / "state"), "--runtime-dir", str(tmp_path / "run")]
    environment = {"DOCKER_HOST": None, "DOCKER_TLS_VERIFY": None, "DOCKER_CERT_PATH": None} | (env or {})
    result = CliRunner().invoke(main, ["--role", "docker", *place, *flags], env=environment)
    assert result.exit_code == 2, result.output
    assert not (tmp_path / "state").exists()
    return result.output


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        (["--once"], "--once is not for the role docker"),
        (["--docker-address", "host"], "--docker-address host and --host-address must be given together"),
        (["--host-address", "192.0.2.1"], "--docker-address host and --host-address must be given together"),
        (["--docker-services", "a/b"], "'--docker-services': no name holds a slash: a/b"),
        (["--docker-max-weight", "0"], "0 is not in the range 1<=x<=65535"),
        (["--docker-label-checks", "some"], "'some' is not one of 'basic', 'full'"),
        (["--docker-address", "both"], "'both' is not one of 'container', 'host'"),
        (
            ["--docker-address", "host", "--host-address", "192.0.2.1", "--host-address", "192.0.2.2"],
            "most one of each",
        ),
        (["--docker-address", "host", "--host-address", "host1"], "'--host-address': not an IP"),
        (["--docker-address", "host", "--host-address", "0.0.0.0"], "'--host-address': unspecified"),
        (["--docker-address", "host", "--host-address", "fe80::1"], "'--host-address': link-local"),
        (
            ["--route-network", "front", "--route-gateway4", "fd00::1"],
            "'--route-gateway4': not an IPv4 address: fd00::1",
        ),
        (["--route-network", "front", "--route-gateway6", "192.0.2.1"], "'--route-gateway6': not an IPv6 address"),
        (["--route-gateway4", "192.0.2.1"], "--route-gateway4 needs a --route-network"),
        (["--route-ipvs-method", "masq"], "--route-ipvs-method needs a --route-network"),
        (["--etcd-ttl", "1"], "'--etcd-ttl'"),
        (["--etcd-ttl", "ten"], "'--etcd-ttl'"),
        (["--etcd-ttl", "3"], "--etcd-ttl 3 is too short .* --stuck-timeout is: use 4 or more"),
        (
            ["--docker-endpoint", "ssh://host"],
            "'--docker-endpoint': ssh://host: expected unix:///PATH or tcp://HOST:PORT",
        ),
        (["--docker-endpoint", "tcp://host"], "'--docker-endpoint': .*port is required"),
    ],
)
def test_invalid_flags_are_refused(tmp_path, flags, reason):
    assert re.search(reason, refused(tmp_path, *ETCD, *flags))


@pytest.mark.parametrize(
    "env",
    [
        {"CLUSTERF_DOCKER_ADDRESS": "host", "CLUSTERF_HOST_ADDRESS": "192.0.2.1 192.0.2.2"},
        {"CLUSTERF_ETCD_TTL": "0"},
        {"CLUSTERF_ROUTE_IPVS_METHOD": "nat"},
        {"CLUSTERF_DOCKER_ENDPOINT": "x"},
        {"CLUSTERF_ROUTE_NETWORK": "front", "CLUSTERF_ROUTE_GATEWAY6": "x"},
        {"DOCKER_HOST": "x"},
        {"DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": "/no/such"},
    ],
)
def test_invalid_environment_is_refused(tmp_path, env):
    refused(tmp_path, *ETCD, env=env)


@pytest.mark.parametrize(
    "line", ["etcd-ttl = 1", 'etcd-ttl = "10"', "exit-flush = 1", "host-address = 7", 'docker-address = "both"']
)
def test_invalid_settings_file_is_refused(tmp_path, line):
    (tmp_path / "node.toml").write_text(line)
    refused(tmp_path, "--config", str(tmp_path / "node.toml"), *ETCD)


def test_role_docker_needs_an_etcd(tmp_path):
    (tmp_path / "tree").mkdir()
    assert "needs an etcd as --config-source" in refused(tmp_path, "--config-source", f"file://{tmp_path}/tree")
