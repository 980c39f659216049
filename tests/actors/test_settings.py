from pathlib import Path

import pytest

from clusterf.etcd.location import EtcdLocation
from clusterf.sources.url import Source, parse_source
from tests.actors.support.some_settings import some_settings

ETCD = [parse_source(f"etcd://192.0.2.{number}:2379/clusterf") for number in (1, 2)]
TREE = Source("file:///etc/clusterf", tree="/etc/clusterf")


@pytest.mark.parametrize(("count", "names"), [(1, ("health",)), (3, ("health1", "health2", "health3"))])
def test_health_processes_are_numbered_if_there_are_several(count, names):
    settings = some_settings(health_processes=count)
    assert settings.health_names() == names


def test_state_files_are_in_the_state_directory():
    settings = some_settings(state_dir="/state")
    files = (settings.config_file, settings.director_file, settings.docker_file, settings.lease_file)
    assert files == tuple(Path("/state", name) for name in ("config.db", "ipvs.db", "docker.db", "docker.lease"))
    assert settings.health_file("health2") == Path("/state/probe/health2.db")


def test_what_was_not_written_is_noted_in_a_directory_of_its_user():
    settings = some_settings(runtime_dir="/run/clusterf/node-1", health_processes=2)
    assert settings.incomplete_directory("director") == Path("/run/clusterf/incomplete")
    assert settings.incomplete_directory("health2") == Path("/run/clusterf/incomplete-probe")


def test_without_a_state_directory_nothing_is_kept():
    settings = some_settings(state_dir=None)
    assert {settings.config_file, settings.director_file, settings.lease_file, settings.health_file("health")} == {None}


@pytest.mark.parametrize(
    ("sources", "etcd"), [((TREE,), None), ((ETCD[0], TREE), ETCD[0]), ((ETCD[0], ETCD[1], TREE), ETCD[1])]
)
def test_containers_are_published_in_the_last_etcd(sources, etcd):
    location: EtcdLocation | None = etcd.etcd if etcd is not None else None
    assert some_settings(sources=sources).etcd_to_publish_in() == location
