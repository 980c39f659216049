#!/usr/bin/python3 -ISB
"""PID 1 of the lab's guest: runs as root in a kernel of its own, User Mode Linux.

The guest boots with the host's `/` as a read-only root. This process mounts an
overlay over it, whose upper layer is in the guest's memory; loads the modules that
the host listed; brings up lo; runs one command, and powers the guest off.

It does so in one process with plain system calls: under User Mode Linux a fork
and exec costs 30-90 ms, a system call 20 µs.
"""

import contextlib
import ctypes
import errno
import fcntl
import json
import os
import signal
import socket
import struct
import sys
import time
from pathlib import Path

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_REC, MS_PRIVATE = 1, 2, 4, 1 << 14, 1 << 18
MNT_DETACH = 2
SYS_PIVOT_ROOT, SYS_FINIT_MODULE = 155, 313  # x86-64
SIOCSIFFLAGS, IFF_UP, IFF_RUNNING = 0x8914, 0x1, 0x40
POWER_OFF = 0x4321FEDC
GRACE = 2.0  # seconds between SIGTERM and SIGKILL after the time limit

STARTED = time.monotonic()
EXCHANGE = Path(os.environ["LABDIR"])  # the folder shared with the host, by its path on the host
INSIDE = Path("/run/lab")  # the same folder once the overlay is the root
NEW_ROOT = Path("/mnt/root")

libc = ctypes.CDLL(None, use_errno=True)


def note(message):
    print(f"lab-init: [{time.monotonic() - STARTED:.3f}] {message}", file=sys.stderr, flush=True)


def check(result, what):
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def mount(kind, target, source="none", flags=0, data=""):
    arguments = str(source).encode(), str(target).encode(), kind.encode(), flags, data.encode()
    check(libc.mount(*arguments), f"mount {kind} on {target}")


def insert_module(path):
    with Path(path).open("rb") as module:
        if libc.syscall(SYS_FINIT_MODULE, module.fileno(), b"", 0) != 0 and ctypes.get_errno() != errno.EEXIST:
            raise OSError(ctypes.get_errno(), f"insmod {path}: {os.strerror(ctypes.get_errno())}")


def tell(name, text):
    """Write a file for the host, which polls: by renaming, so that it never sees a part."""
    unfinished = INSIDE / f"{name}.new"
    unfinished.write_text(text)
    unfinished.rename(INSIDE / name)


def mount_root():
    mount("tmpfs", "/mnt", data="size=90%")
    for name in ("upper", "work", "root"):
        Path("/mnt", name).mkdir()
    mount("overlay", NEW_ROOT, data="lowerdir=/,upperdir=/mnt/upper,workdir=/mnt/work")
    mount("proc", NEW_ROOT / "proc", flags=MS_NOSUID | MS_NODEV)
    mount("sysfs", NEW_ROOT / "sys", flags=MS_NOSUID | MS_NODEV)
    mount("tmpfs", NEW_ROOT / "run", flags=MS_NOSUID | MS_NODEV, data="mode=755")
    for name in ("lab", "netns"):
        (NEW_ROOT / "run" / name).mkdir()
    mount("hostfs", NEW_ROOT / "run/lab", data=str(EXCHANGE))


def mount_devices():
    dev = NEW_ROOT / "dev"
    mount("devtmpfs", dev, flags=MS_NOSUID)
    for name in ("pts", "shm"):
        (dev / name).mkdir(exist_ok=True)
    mount("devpts", dev / "pts", data="mode=620,ptmxmode=666")
    mount("tmpfs", dev / "shm", flags=MS_NOSUID | MS_NODEV)
    links = {"fd": "fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2"}
    for name, target in links.items():
        with contextlib.suppress(FileExistsError):
            (dev / name).symlink_to(f"/proc/self/{target}")
    with contextlib.suppress(FileExistsError):
        (dev / "ptmx").symlink_to("pts/ptmx")


def mount_writable(folders):
    for folder in folders:
        inside = NEW_ROOT / folder.lstrip("/")
        inside.mkdir(parents=True, exist_ok=True)
        mount("hostfs", inside, data=folder)


def offer_modules(folder):
    """Link the kernel's modules to where modprobe and the kernel itself (veth, bridge) look."""
    modules = NEW_ROOT / "usr/lib/modules"
    modules.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        (modules / os.uname().release).symlink_to(folder)


def enter_root():
    os.chdir(NEW_ROOT)
    Path(".oldroot").mkdir()
    check(libc.syscall(SYS_PIVOT_ROOT, b".", b".oldroot"), "pivot_root")
    os.chdir("/")
    check(libc.umount2(b"/.oldroot", MNT_DETACH), "umount")  # the overlay keeps its lower layer
    Path("/.oldroot").rmdir()
    check(libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None), "make / private")


def bring_lo_up():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", IFF_UP | IFF_RUNNING))


def boot(config):
    for module in config["early_modules"]:
        insert_module(module)
    mount_root()
    mount_devices()
    mount_writable(config["writable"])
    offer_modules(config["module_folder"])
    enter_root()
    for module in config["modules"]:
        try:
            insert_module(module)
        except OSError as error:
            note(error)
    bring_lo_up()
    libc.sethostname(b"ipvs-lab", 8)


def become(job):
    """Replace this process by the command; if that fails, print why and exit."""
    os.setsid()
    for descriptor, (path, flags) in enumerate(
        [
            ("/dev/null", os.O_RDONLY),
            (INSIDE / "out", os.O_WRONLY | os.O_CREAT),
            (INSIDE / "err", os.O_WRONLY | os.O_CREAT),
        ]
    ):
        os.dup2(os.open(path, flags | os.O_APPEND, 0o644), descriptor)
    try:
        os.closerange(3, 64)
        os.chdir(job["cwd"])
        os.execvpe(job["argv"][0], job["argv"], job["env"])
    except OSError as error:
        print(f"lab: {job['argv'][0]}: {error}", file=sys.stderr, flush=True)
        os._exit(127 if isinstance(error, FileNotFoundError) else 126)


def limit(seconds, pid):
    """End the command after `seconds`; return a list that is not empty if that happened."""
    ended = []

    def on_alarm(*_):
        os.killpg(pid, signal.SIGKILL if ended else signal.SIGTERM)
        ended.append(pid)

    signal.signal(signal.SIGALRM, on_alarm)
    signal.setitimer(signal.ITIMER_REAL, seconds, GRACE)
    return ended


def run(job):
    """Run the command, reap orphans meanwhile, and return its exit status."""
    pid = os.fork()
    if pid == 0:
        become(job)
    ended = limit(job["timeout"], pid)
    while True:
        reaped, status = os.wait()
        if reaped == pid:
            code = os.waitstatus_to_exitcode(status)
            return 124 if ended else code if code >= 0 else 128 - code


def main():
    try:
        config = json.loads((EXCHANGE / "config.json").read_text())
        boot(config)
        note(f"up; kernel {os.uname().release}")
        tell("ready", "")
        tell("status", str(run(config["job"])))
    except Exception as error:  # noqa: BLE001 -- if PID 1 ends, the kernel panics without the reason
        note(repr(error))
    libc.sync()
    libc.reboot(POWER_OFF)


main()
