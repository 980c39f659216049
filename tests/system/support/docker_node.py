"""A real clusterf-node with the role docker, and what it has published in a real etcd."""

import json
from base64 import b64decode
from collections.abc import Mapping
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

from docker.models.containers import Container

from clusterf.etcd.client import Client
from tests.lab.etcd import EtcdCluster
from tests.system.support.node import NODE, Node
from tests.waiting import wait_until

__all__ = ["LASTING", "NODE_NAME", "DockerNode", "Key", "Published", "labels", "path"]

_PREFIXES = (f"docker/{number}" for number in count())


class Key(NamedTuple):
    """When a key came into being, and when it was last written, as revisions of etcd."""

    created: int
    written: int


class Published:
    """What is below a prefix that nobody else has."""

    def __init__(self, cluster: EtcdCluster) -> None:
        self.cluster = cluster
        self.prefix = next(_PREFIXES)

    @property
    def url(self) -> str:
        return self.cluster.url(self.prefix)

    def keys(self) -> dict[str, Any]:
        """Return all values by path, but for the publisher of backends."""
        return {path: {name: v[name] for name in v if name != "publisher"} for path, v in self.values().items()}

    def values(self) -> dict[str, Any]:
        """Return all values by path."""
        with Client(self.cluster.location(self.prefix), self.cluster.endpoints[0]) as client:
            return {path.decode(): json.loads(value) for path, value in client.list().items}

    def put(self, path: str, value: Mapping[str, Any]) -> None:
        """Set a key, as somebody else."""
        self.cluster.ctl("put", f"/{self.prefix}/{path}", json.dumps(value))

    def delete(self, path: str) -> None:
        """Delete a key, as somebody else."""
        self.cluster.ctl("del", f"/{self.prefix}/{path}")

    def revisions(self) -> dict[str, Key]:
        """Return of every key since when it has been there without a break, and when it was last written."""
        reply = json.loads(self.cluster.ctl("get", "--prefix", f"/{self.prefix}/", "-w", "json"))
        return {
            b64decode(kv["key"]).decode().removeprefix(f"/{self.prefix}/"): Key(
                kv["create_revision"], kv["mod_revision"]
            )
            for kv in reply.get("kvs", ())
        }

    def weight(self, container: Container, service: str = "test") -> int | None:
        """Return the weight of a container's backend, None where there is none."""
        backend = self.keys().get(path(container, service))
        return None if backend is None else int(backend.get("weight", 10))

    def wait_for(self, container: Container, weight: int | None, timeout: float = 10) -> None:
        """Wait until a container's backend has that weight, or with None is gone."""
        wait_until(lambda: self.weight(container) == weight, timeout)


def path(container: Container, service: str = "test") -> str:
    return f"services/{service}/backends/{container.id}"


def labels(service: str = "test", **more: str) -> dict[str, str]:
    """Return the labels of a container that backs a service with its port 8080; `more` by field, with _ for a dot."""
    own = {"service": service, "backend.tcp": "8080"} | {name.replace("_", "."): text for name, text in more.items()}
    return {f"net.qmsk.clusterf.{name}": text for name, text in own.items()}


NODE_NAME = "docker1"
LASTING = ("--etcd-ttl", "60")  # flags: the keys outlive any restart, however slow the machine is


class DockerNode(Node):
    """A node with the role docker only, for an engine at `endpoint`."""

    def __init__(self, folder: Path, endpoint: str, published: Published, *flags: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        super().__init__(folder)
        self._command = [str(NODE), "--role", "docker", "--config-source", published.url]
        self._command += ["--docker-endpoint", endpoint, "--etcd-ttl", "4", "--node-name", NODE_NAME]
        self._command += ["--state-dir", str(self.state), "--runtime-dir", str(folder / "run"), *flags]
