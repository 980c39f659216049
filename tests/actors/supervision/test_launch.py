import subprocess
import sys
from pathlib import Path

import pytest

from actors.supervision import launch
from actors.supervision.launch import environment_of, prints

ENVIRONMENT = {
    "CLUSTERF_ETCD_PASSWORD": "secret",
    "DOCKER_HOST": "unix:///run/docker.sock",
    "GRPC_DNS_RESOLVER": "native",
    "HOME": "/root",
    "LANG": "C.UTF-8",
    "LC_TIME": "C",
    "LD_PRELOAD": "/tmp/evil.so",
    "PYTHONPATH": "/tmp/evil",
    "SSLKEYLOGFILE": "/tmp/keys",
    "SSL_CERT_FILE": "/etc/ca.pem",
    "TZ": "UTC",
    "https_proxy": "http://proxy",
}


@pytest.mark.parametrize(
    ("name", "own"),
    [
        ("director", set()),
        ("health2", {"SSL_CERT_FILE"}),
        ("config", {"SSL_CERT_FILE", "CLUSTERF_ETCD_PASSWORD", "GRPC_DNS_RESOLVER"}),
        (
            *("docker",),
            {"SSL_CERT_FILE", "CLUSTERF_ETCD_PASSWORD", "GRPC_DNS_RESOLVER", "DOCKER_HOST", "HOME", "https_proxy"},
        ),
    ],
)
def test_process_gets_only_what_it_needs_of_the_environment(name, own):
    needed = {"LANG", "LC_TIME", "TZ"} | own
    assert environment_of(name, ENVIRONMENT) == {variable: ENVIRONMENT[variable] for variable in needed}


def test_only_the_director_prints():
    assert [name for name in ("config", "health", "health1", "director", "docker") if prints(name)] == ["director"]


@pytest.mark.process
def test_code_of_a_child_cannot_be_shadowed(tmp_path):
    """Not by the working directory, the environment, or a user's own packages."""
    for package in ("actors", "pykka", "user/lib/python3/site-packages/actors"):
        (tmp_path / package).mkdir(parents=True)
        (tmp_path / package / "__init__.py").write_text("raise SystemExit('shadowed')")
    *interpreter, code = launch.COMMAND
    code = code.replace("import main; main()", "import main; import actors; print(actors.__path__[0])")
    environment = {"PYTHONPATH": str(tmp_path), "PYTHONUSERBASE": str(tmp_path / "user"), "HOME": str(tmp_path)}
    done = subprocess.run(
        [*interpreter, code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == str(Path(sys.modules["actors"].__path__[0]))
