"""The Compose file in configs/: the node accepts its flags, and its labels make backends."""

from ipaddress import IPv4Address
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from actors.main import main
from clusterf.docker.addresses import ContainerAddress
from clusterf.docker.containers import container_of
from clusterf.docker.labels import Report, backends_at, parse
from tests.clusterf.support.fake_engine import inspect

ROOT = Path(__file__).parents[2]
KEYS = {
    *("build", "cap_add", "cap_drop", "command", "depends_on", "environment", "expose", "healthcheck", "image"),
    *("init", "labels", "network_mode", "networks", "ports", "restart", "volumes"),
}


@pytest.fixture
def compose():
    return yaml.safe_load((ROOT / "configs/compose.yaml").read_text())


def test_services_have_an_image_and_only_known_keys(compose):
    assert compose.keys() == {"name", "networks", "services", "volumes", "x-etcd"}
    for name, service in compose["services"].items():
        assert service.keys() <= KEYS, name
        assert service.keys() & {"image", "build"}
        assert set(service.get("depends_on", ())) <= compose["services"].keys()
        volumes = {volume.partition(":")[0] for volume in service.get("volumes", ())}
        assert set(service.get("networks", ())) <= compose["networks"].keys()
        assert {volume for volume in volumes if not volume.startswith("/")} <= set(compose["volumes"])


def test_image_is_built_from_existing_files(compose):
    build = compose["services"]["node"]["build"]
    context = ROOT / "configs" / build["context"]
    lines = (context / build["dockerfile"]).read_text().splitlines()
    copied = [word for line in lines if line.startswith("COPY ") for word in line.split()[1:-1]]
    allowed = (ROOT / ".dockerignore").read_text().splitlines()
    for name in copied:
        assert (context / name).exists()
        assert f"!{name}" in allowed


def test_containers_that_are_balanced_cannot_reach_etcd(compose):
    """It has no password, and a writer decides where the host's traffic goes."""
    services = compose["services"]
    networks = {name: set(service.get("networks", ["default"])) for name, service in services.items()}
    balanced = {name for name, service in services.items() if "labels" in service}
    assert balanced == {"web1", "web2"}
    for name in balanced:
        assert networks[name] & networks["etcd"] == set()
        assert services[name].get("network_mode") is None
    assert all(port.startswith("127.0.0.1:") for port in services["etcd"]["ports"])
    assert networks["frontend"] == networks["etcd"] == {"etcd"}
    assert services["node"]["network_mode"] == "host"


def test_flags_of_the_node_are_accepted(compose, tmp_path):
    node = compose["services"]["node"]
    flags = [*node["command"], "--state-dir", str(tmp_path / "file")]
    (tmp_path / "file").touch()  # the only mistake
    result = CliRunner().invoke(main, flags)
    assert result.exit_code == 2
    assert "--state-dir" in result.output
    assert node["network_mode"] == "host"
    assert "/var/run/docker.sock:/var/run/docker.sock" in node["volumes"]


@pytest.mark.parametrize(("name", "weight"), [("web1", 10), ("web2", 20)])
def test_labels_make_backends(compose, name, weight):
    service = compose["services"][name]
    labels = {label.removeprefix("net.qmsk.clusterf."): text for label, text in service["labels"].items()}
    container = container_of(inspect(labels=labels, exposed=[f"{port}/tcp" for port in service["expose"]]))
    report = Report(name)
    asked = parse(container, report)
    backends = backends_at(ContainerAddress(ipv4=IPv4Address("172.18.0.2")), asked, report)
    assert report.problems == ()
    assert (backends["web"].tcp, backends["web"].weight) == (8080, weight)
    health = backends["web"].health
    assert health is not None
    assert (health.check.type, health.check.path) == ("http", "/")
