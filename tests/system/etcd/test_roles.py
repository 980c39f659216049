"""The roles of etcd in docs/operations.md: a team has its services and its VIPs, and nothing else."""

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from clusterf.etcd.client import Client
from clusterf.etcd.errors import EtcdError
from tests.lab.etcd import EtcdCluster
from tests.system.support.etcd_client import connect

OPERATIONS = Path(__file__).resolve().parents[3] / "docs/operations.md"
PASSWORDS = {"alice": "a secret", "bob": "another one"}


def documented() -> list[list[str]]:
    """Return the words of the documented commands."""
    section = OPERATIONS.read_text().split("### Teams that share an etcd\n")[1].split("\n### ")[0]
    (block,) = re.findall(r"```sh\n(.*?)```", section, re.DOTALL)
    return [shlex.split(line) for line in block.splitlines() if line]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdCluster]:
    """An etcd in which the documented commands were run: alice is of team-a, bob an operator."""
    with EtcdCluster(tmp_path_factory.mktemp("shared")) as cluster:
        for command, *arguments in documented():
            assert command == "etcdctl"
            if arguments[:2] == ["user", "add"]:
                arguments[2] += f":{PASSWORDS[arguments[2]]}"
            cluster.ctl(*arguments)
        cluster.ctl("user", "add", f"bob:{PASSWORDS['bob']}")
        cluster.ctl("user", "grant-role", "bob", "operator")
        cluster.enable_auth()
        yield cluster


def client_of(cluster: EtcdCluster, user: str, folder: Path) -> Client:
    password = folder / user
    password.write_text(PASSWORDS[user])
    return connect(cluster, user=user, password_file=str(password))


def put(client: Client, key: str, value: object) -> None:
    client.transact([(key.encode(), json.dumps(value).encode())], [])


@pytest.mark.parametrize(
    "key", ["vips/team-a", "vips/other", "services/team-b-web/frontend", "services/web/frontend", "health", "routes/r"]
)
def test_team_writes_nothing_but_its_services(shared: EtcdCluster, tmp_path: Path, key: str) -> None:
    with client_of(shared, "alice", tmp_path) as alice, pytest.raises(EtcdError, match="permission denied"):
        put(alice, key, {})


def test_team_reads_all_and_writes_its_services(shared: EtcdCluster, tmp_path: Path) -> None:
    with client_of(shared, "alice", tmp_path) as alice:
        put(alice, "services/team-a-web/frontend", {"ipv4": "10.107.0.1", "tcp": 80})
        assert {b"services/team-a-web/frontend", b"vips/team-a"} <= dict(alice.list().items).keys()


def test_operator_writes_vips(shared: EtcdCluster, tmp_path: Path) -> None:
    with client_of(shared, "bob", tmp_path) as bob:
        put(bob, "vips/team-b", {"prefix": "10.108.0.0/16", "services": ["team-b-*"]})
        put(bob, "services/web/frontend", {"ipv4": "192.0.2.1", "tcp": 80})
