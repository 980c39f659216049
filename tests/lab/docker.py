"""A real Docker engine for tests on this machine: Debian's own, with images that are made here.

It lives in namespaces of its own. Bridges and addresses are those of a network
that nobody else has, so the machine's firewall and routes stay as they are, and
containers are reached from within `Engine.network()` only. Its mounts and data
are seen by nobody else, and all its processes die with the thread that has
started it, even if that is killed.

`python -m tests.lab.docker` installs what is missing, on Debian, as root.
"""

import os
import signal
import socket
import subprocess
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any, Self
from urllib.request import urlopen
from uuid import uuid4

import docker
from docker.models.containers import Container

from tests.lab.cgroups import control_groups, remove_cgroup
from tests.lab.images import IMAGES, WEB, root_filesystem
from tests.system.support.netns import joined
from tests.waiting import wait_until

__all__ = ["Engine", "install", "missing"]

SUITE = os.environ.get("CLUSTERF_LAB_DOCKER_SUITE", "trixie")
PROGRAMS = Path(os.environ.get("CLUSTERF_LAB_DOCKER", "/var/tmp/clusterf-lab/docker")) / SUITE
PATIENCE = 30.0  # seconds for the engine to answer, or to end
CALL = 10.0  # seconds that a call of it may take

_DIE_WITH_PARENT = ["setpriv", "--pdeathsig", "KILL"]
_NAMESPACES = ["--mount", "--net", "--pid", "--ipc", "--uts"]
# process 1 of the namespaces, which reaps what dies in there
_INIT = """
mount -t tmpfs -o mode=755 tmpfs /run
mount -t proc proc /proc
[ -e /sys/fs/cgroup/cgroup.controllers ] || [ -d /sys/fs/cgroup/memory ] || mount -t cgroup2 cgroup2 /sys/fs/cgroup
# an address of IPv6 may be used at once
[ ! -e /proc/sys/net/ipv6 ] || echo 0 >/proc/sys/net/ipv6/conf/default/accept_dad
busybox ip link set lo up
echo '{}' >/run/daemon.json
# containerd outlives dockerd, as on a real host; dockerd starts and stops a second faster with one that runs
printf 'version = 2\\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]\\n' >/run/containerd.toml
containerd --config /run/containerd.toml --root /run/containerd/data --state /run/containerd/state \
    --address /run/containerd.sock >&2 &
while [ ! -S /run/containerd.sock ]; do kill -0 $!; busybox sleep 0.02; done
echo ready
exec tini-static -- sleep infinity
"""


def missing() -> str | None:
    """Return why there is no engine for tests here; None: there is one."""
    if os.geteuid() != 0:
        return "only root can run a Docker engine in namespaces of its own"
    if not (PROGRAMS / "VERSION").exists():
        return "there is no Docker engine for tests, which `python -m tests.lab.docker` gets from Debian's packages"
    return None


def install() -> None:
    """Get the engine's programs, if they are missing. Raises SystemExit where that cannot be done."""
    done = subprocess.run([Path(__file__).with_name("install-docker")], check=False)
    if done.returncode:
        raise SystemExit(done.returncode)


class Engine:
    """An engine that runs until the `with` ends, then all its containers are gone.

    `start` brings it back where it was, after `stop` or `kill`. `url` is where
    it listens, and `client` talks to it, also after it was started again.
    """

    client: docker.DockerClient

    def __init__(self, folder: Path, *, live_restore: bool = False) -> None:
        """Use `folder` for the socket and for what is logged."""
        folder.mkdir(parents=True, exist_ok=True)
        self._log = folder / "log"
        self._socket = folder / "docker.sock"
        self.cgroup = f"clusterf-lab-{uuid4().hex}"
        self.live_restore = live_restore
        self._environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("DOCKER_") and not name.lower().endswith("_proxy")
        } | {"PATH": f"{PROGRAMS}:/usr/sbin:/usr/bin:/sbin:/bin"}
        # the namespaces, and dockerd in there: both are reached through a parent out here
        self._init = self._dockerd = 0
        self._holder: subprocess.Popen[bytes] | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        try:
            self._unshare()
            self.start()
            self.client = docker.DockerClient(self.url, timeout=CALL)
            for name, changes in IMAGES.items():
                self.make_image(name, *changes)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def url(self) -> str:
        return f"unix://{self._socket}"

    @property
    def log(self) -> str:
        """The end of what it has logged."""
        return self._log.read_text(errors="replace")[-3000:]

    @property
    def groups(self) -> list[Path]:
        """The control groups of its containers, on this machine."""
        return control_groups(self.cgroup)

    @property
    def processes(self) -> set[int]:
        """Processes of the engine and of its containers, as this machine numbers them."""
        contained = [int(pid) for group in self.groups for pid in (group / "cgroup.procs").read_text().split()]
        return {self._init, self._dockerd, *contained}

    def network(self) -> AbstractContextManager[None]:
        """Move this thread, and the processes it starts, to where containers can be reached; then back."""
        return joined(Path(f"/proc/{self._init}/ns/net"))

    def start(self) -> None:
        """Start it, if it does not run, and wait until it answers; one that is frozen goes on."""
        if self._process is None:
            self._launch()
        self.thaw()
        wait_until(self._answers, PATIENCE)

    def restart(self, *, live_restore: bool) -> None:
        """Stop it, if it runs, and start it with or without live-restore, which it keeps from then on.

        With it containers go on while the engine is away. Without it they end
        when it stops; those that did go on, when it starts.
        """
        self.stop()
        self.live_restore = live_restore
        self.start()

    def stop(self) -> None:
        """End it as an administrator would, if it runs."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it as a crash would, if it runs: containers go on, for the time being."""
        self._end(signal.SIGKILL)

    def freeze(self) -> None:
        """Have it do nothing any more, its connections open. Containers go on."""
        assert self._process is not None, "the engine does not run"
        os.kill(self._dockerd, signal.SIGSTOP)
        parent = self._process.pid
        wait_until(lambda: _state(parent) == "T")  # which stops when it does, and hands on what makes it go on

    def thaw(self) -> None:
        """Have it go on after `freeze`."""
        assert self._process is not None, "the engine does not run"
        self._process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        """End all there is at once."""
        if hasattr(self, "client"):
            self.client.close()
        if self._holder:
            with suppress(ProcessLookupError):
                os.kill(self._init or self._holder.pid, signal.SIGKILL)
        if self._process:
            self.thaw()  # it reaps dockerd, which was killed like all else in there
            self._process.wait(PATIENCE)
        if self._holder:
            self._holder.wait(PATIENCE)  # until the last process in there is gone
        remove_cgroup(self.cgroup)
        self._socket.unlink(missing_ok=True)

    def make_image(self, name: str, *changes: str) -> None:
        """Make an image that has `serve` and busybox, with such lines of a Dockerfile as `EXPOSE 8080/tcp`."""
        self.client.api.import_image_from_data(root_filesystem(PROGRAMS / "busybox"), name, changes=list(changes))

    def run(self, image: str = WEB, *command: str, **options: Any) -> Container:
        """Start a container as `docker run -d` would; the options are those of `containers.run`."""
        container = self.client.containers.run(image, list(command) or None, detach=True, **options)
        container.reload()
        return container

    def address(self, container: Container, network: str = "bridge", *, ipv6: bool = False) -> str:
        """Return the address that the container has on a network now, empty if it has none."""
        container.reload()
        attached = container.attrs["NetworkSettings"]["Networks"][network]
        return str(attached["GlobalIPv6Address" if ipv6 else "IPAddress"])

    def fetch(self, address: str, path: str = "/", port: int = 8080) -> str:
        """Return the answer of an HTTP server in a container, after waiting for it to start."""
        return wait_until(lambda: self._get(address, path, port, CALL), CALL)

    def answers(self, address: str, port: int = 8080) -> bool:
        """Tell whether an HTTP server in a container answers now."""
        return bool(self._get(address, "/", port, 1))

    def _get(self, address: str, path: str, port: int, timeout: float) -> str:
        host = f"[{address}]" if ":" in address else address
        with self.network(), suppress(OSError), urlopen(f"http://{host}:{port}{path}", timeout=timeout) as reply:
            return str(reply.read().decode().strip())
        return ""

    def clear(self) -> None:
        """Remove all containers, and all networks but the default ones."""
        for container in self.client.api.containers(all=True):
            self.client.api.remove_container(container["Id"], force=True, v=True)
        self.client.networks.prune()

    def _unshare(self) -> None:
        unshare = ["unshare", *_NAMESPACES, "--fork", "--kill-child"]
        with self._log.open("ab") as log:
            self._holder = subprocess.Popen(
                [*_DIE_WITH_PARENT, *unshare, "sh", "-euc", _INIT],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                env=self._environment,
            )
        assert self._holder.stdout
        with self._holder.stdout as output:
            assert output.readline() == b"ready\n", f"no namespaces for the engine: {self.log}"
        self._init = _child(self._holder)

    def _launch(self) -> None:
        enter = ["nsenter", "--target", str(self._init), *_NAMESPACES]
        arguments = [
            "--data-root",
            "/run/docker/data",
            "--exec-root",
            "/run/docker/exec",
            "--config-file",
            "/run/daemon.json",
            "--containerd",
            "/run/containerd.sock",
        ]
        arguments += ["--pidfile", "/run/docker.pid", "--host", self.url, "--cgroup-parent", f"/{self.cgroup}"]
        arguments += [f"--live-restore={str(self.live_restore).lower()}", "--shutdown-timeout", "3"]
        # docker-proxy does what is asked of published ports, so there need be no firewall to program
        arguments += ["--iptables=false", "--ip6tables=false"]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*_DIE_WITH_PARENT, *enter, "dockerd", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._environment,
            )
        self._dockerd = wait_until(lambda: _child(self._process), PATIENCE)

    def _end(self, number: int) -> None:
        if self._process is None:
            return
        os.kill(self._dockerd, number)
        self.thaw()
        self._process.wait(PATIENCE)
        self._process = None

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, f"dockerd has ended: {self.log}"
        with socket.socket(socket.AF_UNIX) as connection, suppress(OSError):
            connection.settimeout(1)
            connection.connect(str(self._socket))
            connection.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
            return b" 200 OK\r\n" in connection.recv(1000)
        return False


def _child(process: subprocess.Popen[bytes] | None) -> int:
    """Return the one child that a process has, 0 while it has none."""
    assert process is not None
    assert process.poll() is None, f"{process.args} has ended with {process.returncode}"
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return int(children[0]) if children else 0


def _state(pid: int) -> str:
    """Return the letter that the kernel has for what a process does."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0]


if __name__ == "__main__":
    install()
