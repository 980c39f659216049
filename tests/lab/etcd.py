"""A real etcd for tests on this machine: Debian's own, on free ports of the loopback interface.

The servers die with the thread that has started them, even if that is killed.
`python -m tests.lab.etcd` installs what is missing, on Debian, as root.
"""

import os
import random
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import msgspec
import trustme

from clusterf.etcd.location import EtcdCredentials, EtcdLocation, parse_location
from tests.waiting import wait_until

__all__ = ["PASSWORD", "USER", "EtcdCluster", "Member", "Tls", "install"]

PACKAGES = {"etcd": "etcd-server", "etcdctl": "etcd-client"}  # Debian packages, by program
HOST = "127.0.0.1"
PORTS = range(20000, 32000)  # below the ephemeral range, from which a client could take a dead server's port
PATIENCE = 20.0  # seconds for a server to be healthy
ROOT, USER, PASSWORD = "root:rootpw", "clusterf", "secret"


def install() -> None:
    """Install the programs that are missing, without a daemon. Raises SystemExit where that cannot be done."""
    missing = [package for program, package in PACKAGES.items() if shutil.which(program) is None]
    if not missing:
        return
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise SystemExit(f"the tests with etcd need Debian's {' and '.join(missing)}, and only root can install them")
    quiet = os.environ | {"DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}  # the latter starts no daemons
    command = ["apt-get", "-qq", "install", "-y", "--no-install-recommends", *missing]
    if subprocess.run(command, env=quiet, check=False).returncode:
        subprocess.run(["apt-get", "-qq", "update"], env=quiet, check=True)
        subprocess.run(command, env=quiet, check=True)


def _program(name: str) -> str:
    path = shutil.which(name)
    assert path, f"there is no program {name}: install Debian's package {PACKAGES[name]}, or run tests/run as root"
    return path


def _free_ports(count: int, host: str) -> list[int]:
    """Return ports of an address on which nobody listens now."""
    sockets = []
    for port in random.sample(PORTS, len(PORTS)):
        listener = socket.socket()
        try:
            listener.bind((host, port))
        except OSError:
            listener.close()
            continue
        sockets.append(listener)
        if len(sockets) == count:
            break
    ports = [listener.getsockname()[1] for listener in sockets]
    for listener in sockets:
        listener.close()
    return ports


def _listening(host: str, port: int) -> bool:
    with socket.socket() as connection:
        return connection.connect_ex((host, port)) == 0


class Tls:
    """A certificate authority for one test, and certificates of it, as PEM files."""

    def __init__(self, folder: Path, names: Iterable[str] = (HOST,)) -> None:
        """Make certificates for servers with these names, and for a client."""
        folder.mkdir(parents=True)
        authority, other = trustme.CA(), trustme.CA()
        self.ca = self._write(folder / "ca.crt", authority.cert_pem)
        # of another authority, which has signed nothing here
        self.wrong_ca = self._write(folder / "wrong-ca.crt", other.cert_pem)
        self.server = self._issue(folder / "server", authority, *names)
        self.client = self._issue(folder / "client", authority, "client.example")
        self.stranger = self._issue(folder / "stranger", other, "client.example")

    def _issue(self, stem: Path, authority: trustme.CA, *names: str) -> tuple[str, str]:
        """Return the paths of a certificate and its key."""
        issued = authority.issue_cert(*names)
        return (
            self._write(stem.with_suffix(".crt"), issued.cert_chain_pems[0]),
            self._write(stem.with_suffix(".key"), issued.private_key_pem),
        )

    def _write(self, path: Path, blob: trustme.Blob) -> str:
        path.write_bytes(blob.bytes())
        return str(path)


@dataclass(eq=False)
class Member:
    """One server. It never exits on its own; `launch` restarts it with its data."""

    name: str
    folder: Path
    client_port: int
    peer_port: int
    arguments: tuple[str, ...] = ()
    host: str = HOST
    process: subprocess.Popen[bytes] | None = None

    @property
    def endpoint(self) -> str:
        return f"{self.host}:{self.client_port}"

    def launch(self, *more: str, wipe: bool = False) -> None:
        """Start the server with the data it had, or with none, and `more` arguments; do not wait for it."""
        assert self.process is None, f"{self.name} runs already"
        if wipe:
            shutil.rmtree(self.folder / "data", ignore_errors=True)
        self.folder.mkdir(parents=True, exist_ok=True)
        environment = {key: value for key, value in os.environ.items() if not key.startswith("ETCD")}
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    "setpriv",
                    "--pdeathsig",
                    "KILL",
                    _program("etcd"),
                    "--data-dir",
                    self.folder / "data",
                    *self.arguments,
                    *more,
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
            )

    def kill(self) -> None:
        """Kill it, if it runs."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """Terminate it, if it runs."""
        self._end(signal.SIGTERM)

    def freeze(self) -> None:
        """Suspend it, with its connections open."""
        self._signal(signal.SIGSTOP)
        # its threads stop one after the other, and the last ones could still answer
        wait_until(lambda: all(state == "T" for state in self._thread_states()))

    def thaw(self) -> None:
        """Continue it after `freeze`."""
        self._signal(signal.SIGCONT)

    @property
    def log(self) -> str:
        """The end of its log."""
        return (self.folder / "log").read_text()[-2000:]

    def _thread_states(self) -> list[str]:
        assert self.process is not None
        stats = Path(f"/proc/{self.process.pid}/task").glob("*/stat")
        return [stat.read_text().rpartition(") ")[2][0] for stat in stats]

    def _signal(self, number: int) -> None:
        assert self.process is not None, f"{self.name} does not run"
        self.process.send_signal(number)

    def _end(self, number: int) -> None:
        if self.process is None:
            return
        self.process.send_signal(number)
        self.process.send_signal(signal.SIGCONT)
        try:
            self.process.wait(PATIENCE)
        finally:
            self.process.kill()
            self.process.wait()
            self.process = None


class EtcdCluster:
    """Servers that run until the `with` ends.

    `tls`: True, or the certificates to use. `client_certificates`: required of all
    clients. `auth`: besides root there is the user USER, who may read and write below
    `/clusterf/`, and whose tokens expire `token_ttl` seconds after their last use.
    The servers listen at the address `host` of the network namespace that they are started in.
    """

    def __init__(
        self,
        directory: Path,
        members: int = 1,
        *,
        tls: bool | Tls = False,
        client_certificates: bool = False,
        auth: bool = False,
        token_ttl: int = 300,
        arguments: Iterable[str] = (),
        host: str = HOST,
    ) -> None:
        self._host = host
        self.tls = Tls(directory / "tls") if tls is True else tls or None
        self._directory = directory
        self._auth = auth
        # whether authentication is enabled now
        self._guarded = False
        self._common = ["--auth-token-ttl", str(token_ttl), "--bcrypt-cost", "4", *arguments]
        self._common += ["--heartbeat-interval", "50", "--election-timeout", "500", "--logger", "zap"]
        if self.tls:
            certificate, key = self.tls.server
            self._common += ["--cert-file", certificate, "--key-file", key]
        if client_certificates and self.tls:
            self._common += ["--client-cert-auth", "--trusted-ca-file", self.tls.ca]
        self.members = self._members(members)

    def __enter__(self) -> Self:
        try:
            self.start()
            if self._auth:
                self.enable_auth()
        except BaseException:
            self.kill()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    @property
    def endpoints(self) -> list[str]:
        return [member.endpoint for member in self.members]

    def url(self, prefix: str = "clusterf") -> str:
        """Return the URL of a source in this etcd."""
        return f"etcd{'+https' if self.tls else ''}://{','.join(self.endpoints)}/{prefix}"

    def location(self, prefix: str = "clusterf", **changes: Any) -> EtcdLocation:
        """Return the location with the credentials that this etcd requires, but for `changes`."""
        password = self._directory / "password"
        password.write_text(f"{PASSWORD}\n")
        known: dict[str, Any] = {}
        if self.tls:
            known |= {"ca": self.tls.ca, "cert": self.tls.client[0], "key": self.tls.client[1]}
        if self._guarded:
            known |= {"user": USER, "password_file": str(password)}
        tls = changes.pop("tls", self.tls is not None)
        return msgspec.structs.replace(parse_location(self.url(prefix), EtcdCredentials(**known | changes)), tls=tls)

    def start(self, *, wipe: bool = False, token: str = "etcd-cluster") -> None:
        """Start the members that do not run, and wait until all are healthy; `token` makes the id of a new cluster."""
        for member in self.members:
            if member.process is None:
                member.launch("--initial-cluster-token", token, wipe=wipe)
        if wipe:
            self._guarded = False
        for member in self.members:
            self.wait_for(member)

    def kill(self) -> None:
        """Kill all members."""
        for member in self.members:
            member.kill()

    def wait_for(self, member: Member) -> None:
        """Wait until a member is healthy."""

        def healthy() -> bool:
            assert member.process is not None, f"{member.name} was not started"
            assert member.process.poll() is None, f"{member.name} has ended: {member.log}"
            if not _listening(member.host, member.client_port):
                return False  # etcdctl would wait a second before it retries
            return not self._run("endpoint", "health", endpoints=[member.endpoint]).returncode

        wait_until(healthy, PATIENCE)

    def enable_auth(self) -> None:
        """Admit only root, and USER below `/clusterf/`."""
        if f"\n{USER}\n" not in f"\n{self.ctl('user', 'list')}":
            self.ctl("user", "add", ROOT)
            self.ctl("user", "grant-role", "root", "root")
            self.ctl("role", "add", USER)
            self.ctl("role", "grant-permission", USER, "readwrite", "--prefix=true", "/clusterf/")
            self.ctl("user", "add", f"{USER}:{PASSWORD}")
            self.ctl("user", "grant-role", USER, USER)
        self.ctl("auth", "enable")
        self._guarded = True

    def disable_auth(self) -> None:
        """Admit everybody."""
        self.ctl("auth", "disable")
        self._guarded = False

    def compact(self, revision: int) -> None:
        """Compact the history before a revision."""
        self.ctl("compaction", str(revision))

    def save(self, path: Path) -> None:
        """Save a snapshot of the one member."""
        self.ctl("snapshot", "save", str(path))

    def restore(self, path: Path) -> None:
        """Replace the data of the one member, which does not run, by a snapshot; it keeps its cluster id."""
        (member,) = self.members
        assert member.process is None, f"{member.name} runs"
        data = member.folder / "data"
        shutil.rmtree(data)
        flags = dict(zip(member.arguments[::2], member.arguments[1::2], strict=False))
        own = ("--name", "--initial-cluster", "--initial-advertise-peer-urls")
        given = [word for flag in own for word in (flag, flags[flag])]
        self.ctl("snapshot", "restore", str(path), "--data-dir", str(data), *given)

    def ctl(self, *arguments: str) -> str:
        """Run etcdctl as root; return its output."""
        done = self._run(*arguments)
        assert not done.returncode, f"etcdctl {' '.join(arguments)}: {done.stderr}"
        return done.stdout

    def _run(self, *arguments: str, endpoints: Iterable[str] = ()) -> subprocess.CompletedProcess[str]:
        flags = ["--endpoints", ",".join(endpoints or self.endpoints), "--dial-timeout", "1s"]
        if self.tls:
            flags += ["--cacert", self.tls.ca, "--cert", self.tls.client[0], "--key", self.tls.client[1]]
        if self._guarded:
            flags += ["--user", ROOT]
        environment = {key: value for key, value in os.environ.items() if not key.startswith("ETCDCTL")}
        return subprocess.run(
            [_program("etcdctl"), *flags, *arguments],
            env=environment | {"ETCDCTL_API": "3"},
            capture_output=True,
            text=True,
            check=False,
        )

    def _members(self, count: int) -> list[Member]:
        ports = iter(_free_ports(2 * count, self._host))
        members = [
            Member(f"etcd{each}", self._directory / f"etcd{each}", next(ports), next(ports), host=self._host)
            for each in range(count)
        ]
        cluster = ",".join(f"{member.name}=http://{member.host}:{member.peer_port}" for member in members)
        return [replace(member, arguments=self._arguments(member, cluster)) for member in members]

    def _arguments(self, member: Member, cluster: str) -> tuple[str, ...]:
        client = f"http{'s' if self.tls else ''}://{member.endpoint}"
        peer = f"http://{member.host}:{member.peer_port}"
        own = ["--name", member.name, "--initial-cluster", cluster, "--initial-cluster-state", "new"]
        own += ["--listen-client-urls", client, "--advertise-client-urls", client]
        own += ["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer]
        return (*own, *self._common)


if __name__ == "__main__":
    install()
