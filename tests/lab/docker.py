"""A real Docker engine for tests on this machine: Debian's, with images that are built here.

It runs in its own namespaces. Bridges and addresses belong to a network of its
own, so the machine's firewall and routes do not change, and containers are reachable
only from within `Engine.network()`. Its mounts and data are private, and all its
processes die with the thread that started it, even if that is killed.

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

from tests.lab.images import IMAGES, WEB, root_filesystem
from tests.system.support.netns import joined
from tests.waiting import wait_until

__all__ = ["Engine", "install", "missing", "remove_cgroup"]

SUITE = os.environ.get("CLUSTERF_LAB_DOCKER_SUITE", "trixie")
PROGRAMS = Path(os.environ.get("CLUSTERF_LAB_DOCKER", "/var/tmp/clusterf-lab/docker")) / SUITE
PATIENCE = 30.0  # seconds for the engine to answer, or to end
CALL = 10.0  # seconds for an API call

_DIE_WITH_PARENT = ["setpriv", "--pdeathsig", "KILL"]
_NAMESPACES = ["--mount", "--net", "--pid", "--ipc", "--uts"]
# process 1 of the namespaces, which reaps orphans
_INIT = """
mount -t tmpfs -o mode=755 tmpfs /run
mount -t proc proc /proc
[ -e /sys/fs/cgroup/cgroup.controllers ] || [ -d /sys/fs/cgroup/memory ] || mount -t cgroup2 cgroup2 /sys/fs/cgroup
# IPv6 addresses are usable at once
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
    """Return why no engine can run here; None if one can."""
    if os.geteuid() != 0:
        return "only root can run a Docker engine in its own namespaces"
    if not (PROGRAMS / "VERSION").exists():
        return "no Docker engine for tests is installed: run `python -m tests.lab.docker` as root, on Debian"
    return None


def install() -> None:
    """Install the engine's programs, if they are missing. Raises SystemExit if that fails."""
    done = subprocess.run([Path(__file__).with_name("install-docker")], check=False)
    if done.returncode:
        raise SystemExit(done.returncode)


class Engine:
    """An engine that runs until the `with` ends; its containers end with it.

    `start` brings it back with its state after `stop` or `kill`. `url` is where
    it listens. `client` stays usable after a restart.
    """

    client: docker.DockerClient

    def __init__(self, folder: Path, *, live_restore: bool = False) -> None:
        """Use `folder` for the socket and the log."""
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
        """The end of its log."""
        return self._log.read_text(errors="replace")[-3000:]

    @property
    def groups(self) -> list[Path]:
        """The control groups of its containers, on this machine."""
        return [path for pattern in _groups(self.cgroup) for path in Path("/sys/fs/cgroup").glob(pattern)]

    @property
    def processes(self) -> set[int]:
        """Processes of the engine and of its containers, as this machine numbers them."""
        contained = [int(pid) for group in self.groups for pid in (group / "cgroup.procs").read_text().split()]
        return {self._init, self._dockerd, *contained}

    def network(self) -> AbstractContextManager[None]:
        """Move this thread, and the processes it starts, to the network of the containers; then back."""
        return joined(Path(f"/proc/{self._init}/ns/net"))

    def start(self) -> None:
        """Start it if it is not running, thaw it if it is frozen, and wait until it answers."""
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
        """Stop it by SIGTERM, if it is running."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Kill it, if it is running: containers keep running for now."""
        self._end(signal.SIGKILL)

    def freeze(self) -> None:
        """Stop its execution; its connections stay open, and containers keep running."""
        assert self._process is not None, "the engine is not running"
        os.kill(self._dockerd, signal.SIGSTOP)
        parent = self._process.pid
        wait_until(lambda: _state(parent) == "T")  # which stops when dockerd does, and passes SIGCONT on

    def thaw(self) -> None:
        """Resume it after `freeze`."""
        assert self._process is not None, "the engine is not running"
        self._process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        """Kill everything at once."""
        if hasattr(self, "client"):
            self.client.close()
        if self._holder:
            with suppress(ProcessLookupError):
                os.kill(self._init or self._holder.pid, signal.SIGKILL)
        if self._process:
            self.thaw()  # it reaps dockerd, which was killed with its namespace
            self._process.wait(PATIENCE)
        if self._holder:
            self._holder.wait(PATIENCE)  # until the last process of the namespaces is gone
        remove_cgroup(self.cgroup)
        self._socket.unlink(missing_ok=True)

    def make_image(self, name: str, *changes: str) -> None:
        """Build an image of `serve` and busybox, with Dockerfile lines such as `EXPOSE 8080/tcp`."""
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
        """Return the response of an HTTP server in a container, which may still be starting."""
        return wait_until(lambda: self._get(address, path, port, CALL), CALL)

    def answers(self, address: str, port: int = 8080) -> bool:
        """Return whether an HTTP server in a container answers now."""
        return bool(self._get(address, "/", port, 1))

    def _get(self, address: str, path: str, port: int, timeout: float) -> str:
        host = f"[{address}]" if ":" in address else address
        with self.network(), suppress(OSError), urlopen(f"http://{host}:{port}{path}", timeout=timeout) as reply:
            return str(reply.read().decode().strip())
        return ""

    def clear(self) -> None:
        """Remove all containers and all networks that were created."""
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
        # docker-proxy serves published ports, so no firewall is needed
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
        assert self._process.poll() is None, f"dockerd ended: {self.log}"
        with socket.socket(socket.AF_UNIX) as connection, suppress(OSError):
            connection.settimeout(1)
            connection.connect(str(self._socket))
            connection.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
            return b" 200 OK\r\n" in connection.recv(1000)
        return False


def _child(process: subprocess.Popen[bytes] | None) -> int:
    """Return the only child of a process, 0 while it has none."""
    assert process is not None
    assert process.poll() is None, f"{process.args} ended with {process.returncode}"
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return int(children[0]) if children else 0


def _state(pid: int) -> str:
    """Return the kernel's letter for the state of a process."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0]


def remove_cgroup(name: str) -> None:
    """Remove the control groups of an engine that has ended, and of its containers."""
    for pattern in _groups(name):
        for folder in sorted(Path("/sys/fs/cgroup").glob(pattern), reverse=True):
            # they stay busy for a moment after the last process is gone
            wait_until(lambda folder=folder: _removed(folder))


def _groups(name: str) -> tuple[str, str]:
    """Return where a control group, and those in it, may be: depending on the version at the top or one level below."""
    return f"{name}/**/", f"*/{name}/**/"


def _removed(folder: Path) -> bool:
    with suppress(FileNotFoundError):
        try:
            folder.rmdir()
        except OSError:
            return False
    return True


if __name__ == "__main__":
    install()
