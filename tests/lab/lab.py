"""Run one command in a guest of User Mode Linux, a kernel of its own that has IPVS.

The guest is an ordinary process of the host. It sees the host's files
copy-on-write: the project, its virtual environment and all installed programs are
there, and nothing that the command writes survives it, except below folders given
with `--rw`.

Host and guest talk through an exchange folder: `config.json` goes in; `ready`,
`out`, `err` and `status` come out. File events do not cross the two kernels, so
the host polls.
"""

import argparse
import contextlib
import ctypes
import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

__all__ = ["EXIT_LAB", "Command", "Guest", "Kernel", "LabError", "find_kernel", "main"]

HERE = Path(__file__).resolve().parent
CACHE = Path(os.environ.get("CLUSTERF_LAB_CACHE", "/var/tmp/clusterf-lab/ipvs"))
SCHEDULERS = ("rr", "wrr", "lc", "wlc", "lblc", "lblcr", "dh", "sh", "mh", "sed", "nq", "fo", "ovf")
EARLY_MODULES = ("overlay",)
MODULES = ("ip_vs", *(f"ip_vs_{scheduler}" for scheduler in SCHEDULERS))
EXIT_LAB = 125  # the lab itself failed; the status that `docker run` and timeout(1) use for this
EXCHANGE = "clusterf-lab-"  # followed by the pid of the run
BOOT_TIMEOUT = 60.0  # seconds
GRACE = 15.0  # seconds beyond the command's time limit, which the guest enforces
PR_SET_PDEATHSIG = 1

libc = ctypes.CDLL(None)


class LabError(Exception):
    """The lab failed; the message says why."""


@dataclass(frozen=True)
class Kernel:
    """A User Mode Linux kernel in the cache."""

    name: str
    folder: Path

    @property
    def modules(self) -> Path:
        """The folder of the modules, which is named after the kernel's release."""
        return next(path for path in sorted((self.folder / "modules").iterdir()) if (path / "kernel").is_dir())

    def arguments(self) -> list[str]:
        return ["seccomp=on"] if self.name == "fast" else []

    def libc(self) -> Path | None:
        """The C library that came with the kernel, when the system's own is too old for it."""
        folder = self.folder / "libc"
        return folder if folder.is_dir() else None


def find_kernel(name: str = "auto") -> Kernel:
    """Return the kernel of that name, or the first one that is installed."""
    for candidate in ("fast", "stock") if name == "auto" else (name,):
        if os.access(CACHE / candidate / "linux", os.X_OK):
            return Kernel(candidate, CACHE / candidate)
    raise LabError(f"no kernel ({name}) in {CACHE}: run {HERE / 'install'}")


def load_order(modules: Path, wanted: Sequence[str]) -> list[str]:
    """Return the paths of the wanted modules and of their dependencies, dependencies first.

    A module without a file is built in, or unknown to this kernel.
    """
    paths = {path.stem.replace("-", "_"): path for path in modules.rglob("*.ko")}
    order: dict[str, None] = {}

    def add(name: str) -> None:
        if path := paths.get(name):
            for dependency in dependencies(path):
                add(dependency)
            order[str(path)] = None

    for name in wanted:
        add(name)
    return list(order)


def dependencies(module: Path) -> list[str]:
    found = re.search(rb"\0depends=([^\0]+)\0", module.read_bytes())
    return found[1].decode().replace("-", "_").split(",") if found else []


@contextlib.contextmanager
def one_cpu() -> Iterator[int]:
    """Choose a CPU for a guest: one that no other guest uses, if possible.

    User Mode Linux's kernel and its processes run in turns. On different CPUs
    each turn costs a wake-up of the other CPU, which makes everything 5-20 times
    slower.
    """
    cpus = sorted(os.sched_getaffinity(0), reverse=True)
    with contextlib.ExitStack() as stack:
        for cpu in cpus:
            with contextlib.suppress(OSError):
                lock = stack.enter_context(Path(f"/tmp/.clusterf-lab-cpu{cpu}.lock").open("a"))
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                yield cpu
                return
        yield cpus[os.getpid() % len(cpus)]


def memory_folder(needed: int) -> str:
    """Return the folder for the file behind the guest's memory: a tmpfs, if it is large enough.

    In a container /dev/shm often has 64 MB, and a guest that fills it dies of SIGBUS.
    """
    shm = os.statvfs("/dev/shm")
    return "/dev/shm" if shm.f_bavail * shm.f_frsize > needed else "/tmp"


def bytes_of(size: str) -> int:
    found = re.fullmatch(r"(\d+)([KMG]?)", size.upper())
    if not found:
        raise LabError(f"{size!r} is not a size, such as 512M or 2G")
    return int(found[1]) << {"": 0, "K": 10, "M": 20, "G": 30}[found[2]]


def sweep() -> None:
    """Remove what killed runs left behind: their folders, and the helper processes of the stock kernel.

    The kernel itself dies with its run. The helpers are found by the folder in their command line.
    """
    for folder in Path("/tmp").glob(f"{EXCHANGE}*-*"):
        if Path("/proc", folder.name.removeprefix(EXCHANGE).split("-")[0]).exists():
            continue
        mark = f"\0uml_dir={folder}/".encode()
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if mark in (process / "cmdline").read_bytes():
                    os.kill(int(process.name), signal.SIGKILL)
        shutil.rmtree(folder, ignore_errors=True)


@dataclass(frozen=True)
class Command:
    """A command for the guest, which runs it in the caller's folder and environment."""

    argv: Sequence[str]
    timeout: float
    memory: str = "1G"
    writable: Sequence[str] = ()
    # a tap device of the network namespace that the guest is started in; empty: none
    tap: str = ""


class Guest:
    """One guest, from boot to power-off. Use it in a `with` statement."""

    def __init__(self, kernel: Kernel, command: Command) -> None:
        self._kernel = kernel
        self._command = command
        self._stack = contextlib.ExitStack()
        self._folder = Path()
        self._process: subprocess.Popen[bytes]

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            # a path without spaces, whatever TMPDIR says: it goes on the kernel's command line
            prefix = f"{EXCHANGE}{os.getpid()}-"
            self._folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=prefix, dir="/tmp")))
            self._write_config()
            self._process = self._start(stack.enter_context(one_cpu()))
            stack.callback(self._end)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _write_config(self) -> None:
        for folder in self._command.writable:
            Path(folder).mkdir(parents=True, exist_ok=True)
        shutil.copy(HERE / "guest-init.py", self._folder / "init")
        (self._folder / "uml").mkdir()
        early = load_order(self._kernel.modules, EARLY_MODULES)
        config = {
            "early_modules": early,
            "modules": [path for path in load_order(self._kernel.modules, MODULES) if path not in early],
            "module_folder": str(self._kernel.modules),
            "writable": [str(Path(folder).resolve()) for folder in self._command.writable],
            "job": {
                "argv": list(self._command.argv),
                "cwd": str(Path.cwd()),
                "env": {"CLUSTERF_IPVS_SYSCTL": "1", **os.environ, "CLUSTERF_LAB_GUEST": self._kernel.name},
                "timeout": self._command.timeout,
            },
        }
        (self._folder / "config.json").write_text(json.dumps(config))

    def _arguments(self) -> list[str]:
        return [
            str(self._kernel.folder / "linux"),
            *("umid=guest", f"uml_dir={self._folder}/uml/", f"mem={self._command.memory}"),
            *("root=/dev/root", "rootfstype=hostfs", "rootflags=/", "ro"),
            *(f"init={self._folder}/init", f"LABDIR={self._folder}"),
            *("con=null", "con0=null,fd:1", "ssl=null", "quiet", "random.trust_cpu=1", "lpj=10000000"),
            # benchmarks of RAID checksums that take 0.9 s of the boot
            "initcall_blacklist=raid6_select_algo,raid6_init,calibrate_xor_blocks",
            *self._kernel.arguments(),
            *([f"vec0:transport=tap,ifname={self._command.tap},depth=128,gro=1"] if self._command.tap else []),
        ]

    def _start(self, cpu: int) -> subprocess.Popen[bytes]:
        def prepare() -> None:
            os.sched_setaffinity(0, {cpu})
            libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)

        own_libc = self._kernel.libc()
        environment = {"PATH": "/usr/bin:/bin", "TMPDIR": memory_folder(bytes_of(self._command.memory))}
        if own_libc:
            environment["LD_LIBRARY_PATH"] = str(own_libc)
        with (self._folder / "console").open("wb") as console:
            return subprocess.Popen(
                self._arguments(),
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                env=environment,
                cwd=own_libc or "/",  # where this kernel's ELF interpreter is looked for, see install
                start_new_session=True,
                preexec_fn=prepare,  # noqa: PLW1509 -- there are no threads here
            )

    def _alive(self) -> bool:
        """Check without reaping, so that the process group is still ours when it is killed."""
        return os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None

    def _end(self) -> None:
        """Kill the kernel and the host processes behind its address spaces."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def console(self) -> str:
        """Return the last lines that the guest's kernel and its PID 1 wrote."""
        lines = (self._folder / "console").read_text(errors="replace").replace("\r", "").splitlines()
        return "\n".join(lines[-30:])

    def wait(self) -> int:
        """Stream the command's output until it ends, and return its exit status."""
        self._until("ready", time.monotonic() + BOOT_TIMEOUT, "boot")
        with (self._folder / "out").open("ab+") as out, (self._folder / "err").open("ab+") as err:
            out.seek(0)
            err.seek(0)

            def pump() -> None:
                for source, target in ((out, sys.stdout.buffer), (err, sys.stderr.buffer)):
                    shutil.copyfileobj(source, target)
                    target.flush()

            self._until("status", time.monotonic() + self._command.timeout + GRACE, "finish", pump)
            pump()
        return int((self._folder / "status").read_text())

    def _until(self, name: str, deadline: float, what: str, pump: Callable[[], None] = lambda: None) -> None:
        """Wait for a file of the exchange folder."""
        while not (self._folder / name).exists():
            alive = self._alive()
            pump()
            if not alive and not (self._folder / name).exists():
                raise LabError(f"the guest ended before it could {what}\n{self.console()}")
            if time.monotonic() > deadline:
                raise LabError(f"timed out waiting for the guest to {what}\n{self.console()}")
            time.sleep(0.01)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="run",
        description="Run COMMAND as root in a kernel with IPVS, in this folder and environment. Exit with its status; "
        "124: timed out; 125: the lab failed; 126: it cannot be run; 127: it is not found; 128+N: signal N.",
    )
    parser.add_argument("--timeout", type=float, default=300, metavar="S", help="seconds for COMMAND (%(default)s)")
    parser.add_argument("--memory", default="1G", metavar="SIZE", help="of the guest (%(default)s)")
    parser.add_argument("--kernel", choices=["auto", "fast", "stock"], help="default: $CLUSTERF_LAB_KERNEL, or auto")
    parser.add_argument("--rw", action="append", default=[], metavar="DIR", help="folder where writes reach the host")
    parser.add_argument("--tap", default="", metavar="DEVICE", help="a tap device here, to which its vec0 is connected")
    parser.add_argument("command", nargs="+", metavar="COMMAND")
    return parser.parse_args(arguments)


def stop(number: int, _: object) -> None:
    raise SystemExit(128 + number)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status."""
    options = parse(arguments)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, stop)
    try:
        sweep()
        kernel = find_kernel(options.kernel or os.environ.get("CLUSTERF_LAB_KERNEL", "auto"))
        with Guest(kernel, Command(options.command, options.timeout, options.memory, options.rw, options.tap)) as guest:
            return guest.wait()
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        return EXIT_LAB
