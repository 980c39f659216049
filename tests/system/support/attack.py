# What code that has taken over a process of a node would try. Runs in there (tests/system/support/inside.py), which
# gives it `report`. Each attempt is reported with what became of it: "done", or the name of the error.
import ctypes
import errno
import fcntl
import glob
import os
import signal
import socket
import struct
import time

libc = ctypes.CDLL(None, use_errno=True)


def call(number, *arguments):
    if (result := libc.syscall(number, *arguments)) < 0:
        raise OSError(ctypes.get_errno(), "")
    return result


def attempt(what):
    try:
        answer = what()
    except OSError as error:
        return errno.errorcode.get(error.errno, str(error))
    return "done" if answer is None else answer


def read(path):
    with open(path, "rb") as file:
        file.read(1)


def write(path, mode="ab"):
    with open(path, mode) as file:
        file.write(b"")


def processes():
    """Return the processes of this node but this one, by their names."""
    found = {"supervisor": os.getppid()}
    for path in glob.glob("/proc/[0-9]*/status"):
        pid = int(path.split("/")[2])
        try:
            with open(path) as file:
                is_ours = f"PPid:\t{os.getppid()}\n" in file.read()
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                title = file.read().strip(b"\0 ").decode()
        except OSError:
            continue
        if is_ours and title.startswith("clusterf-node: ") and pid != os.getpid():
            found[title.removeprefix("clusterf-node: ")] = pid
    return found


def peek(pid):
    with open(f"/proc/{pid}/mem", "rb") as file:
        file.seek(4096)
        file.read(1)


def attach(pid):
    call(101, 16, pid, None, None)  # PTRACE_ATTACH


def copy_memory(pid):
    buffer = ctypes.create_string_buffer(8)
    vector = struct.pack("PN", ctypes.addressof(buffer), 8)
    call(310, pid, vector, 1, vector, 1, 0)


def flush_table():
    """Have the kernel empty its IPVS table, as `ipvsadm -C` does."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 16) as netlink:
        netlink.bind((0, 0))
        name = b"IPVS\0"
        attribute = struct.pack("=HH", 4 + len(name), 2) + name + b"\0" * (-len(name) % 4)
        netlink.send(struct.pack("=IHHIIBBH", 20 + len(attribute), 16, 1, 1, 0, 3, 1, 0) + attribute)
        answer = netlink.recv(65536)
        (kind,) = struct.unpack_from("=H", answer, 4)
        if kind == 2:
            raise OSError(-struct.unpack_from("=i", answer, 16)[0], "")
        at, family = 20, None
        while at < len(answer):
            length, attribute = struct.unpack_from("=HH", answer, at)
            if attribute == 1:
                (family,) = struct.unpack_from("=H", answer, at + 4)
            at += (length + 3) & ~3
        netlink.send(struct.pack("=IHHIIBBH", 20, family, 5, 2, 0, 17, 1, 0))  # IPVS_CMD_FLUSH
        (error,) = struct.unpack_from("=i", netlink.recv(65536), 16)
        if error:
            raise OSError(-error, "")


def connect(address):
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(address)


def end_the_node():
    """Tell the supervisor, over this process's own control socket, that the node is to end."""
    sent = 0
    for fd in range(3, 64):
        try:
            with socket.socket(fileno=os.dup(fd)) as connection:
                if connection.type == socket.SOCK_SEQPACKET:
                    for message in (
                        b'{"type":"Finished","status":0}',
                        b'{"type":"Flushed"}',
                        b"\xff" * 100,
                        b'{"type":"Stop"}',
                    ):
                        connection.send(message)
                        sent += 1
        except OSError:
            continue
    assert sent, "no control socket was found"


def rewrite_code():
    import clusterf

    write(clusterf.__file__)


def read_kernel_memory():
    for path in ("/dev/mem", "/dev/kmem", "/proc/kcore"):
        if os.path.exists(path):
            read(path)
            return
    raise OSError(errno.EACCES, "there is none")


def descriptors():
    found = []
    for name in os.listdir("/proc/self/fd"):
        try:
            found.append(os.readlink(f"/proc/self/fd/{name}"))
        except OSError:
            pass
    return sorted(found)


def tried(place):
    """Yield each attempt with its name; `place` is a directory that the test has made."""
    yield "read a password", lambda: read(f"{place}/secret")
    yield "read /etc/shadow", lambda: read("/etc/shadow")
    yield "write to another's file", lambda: write(f"{place}/secret")
    yield "write to a file that all may read", lambda: write(f"{place}/public")
    yield "write a cron job", lambda: write("/etc/cron.d/attack", "xb")
    yield "write the code", rewrite_code
    yield "write where all may", lambda: write(f"{OPEN}/attack-{os.getpid()}")
    yield "replace the runtime directory", lambda: os.rename(f"{place}/run", f"{OPEN}/run")
    yield "make a node's directory", lambda: os.mkdir(f"{place}/run/node-1-attack")
    for name, pid in processes().items():
        yield f"signal {name}", lambda pid=pid: os.kill(pid, 0)
        yield (
            f"signal {name} by descriptor",
            lambda pid=pid: signal.pidfd_send_signal(os.pidfd_open(pid), 0),
        )
        yield f"trace {name}", lambda pid=pid: attach(pid)
        yield f"read the memory of {name}", lambda pid=pid: peek(pid)
        yield f"copy the memory of {name}", lambda pid=pid: copy_memory(pid)
        yield f"read the environment of {name}", lambda pid=pid: read(f"/proc/{pid}/environ")
        yield f"list the descriptors of {name}", lambda pid=pid: os.listdir(f"/proc/{pid}/fd") and None
    yield "run a program", lambda: os.execv("/bin/true", ["true"])
    yield "start a process", lambda: os.fork() and None
    yield "become root", lambda: os.setresuid(0, 0, 0)
    yield (
        "have capabilities",
        lambda: (
            libc.capset
            and call(126, struct.pack("=Ii", 0x20080522, 0), struct.pack("=6I", *([0xFFFFFFFF] * 6)))
            and None
        ),
    )
    yield "mount", lambda: call(165, b"none", b"/mnt", b"tmpfs", 0, None) and None
    yield "leave the namespaces", lambda: call(272, 0x10000000 | 0x00020000) and None
    yield "change the root", lambda: os.chroot("/tmp")
    yield "open a file by its handle", lambda: call(304, 0, None, 0) and None
    yield "read the kernel's memory", read_kernel_memory
    yield "type into the terminal", lambda: call(16, 2, 0x5412, b"x") and None
    yield "read the terminal", lambda: read("/dev/tty")
    yield "have the kernel signal others", lambda: fcntl.fcntl(2, fcntl.F_SETOWN, os.getppid()) and None
    yield "listen", lambda: socket.create_server(("127.0.0.1", 0)) and None


def tried_by_health(place):
    """Yield what no other process than health is kept from."""
    yield "truncate the log", lambda: os.ftruncate(2, 0)
    yield "write over the log", lambda: os.pwrite(2, b"ipvs: forged", 0) and None
    yield "end the log of others", lambda: socket.socket(fileno=os.dup(2)).shutdown(socket.SHUT_RDWR)
    yield "read the records of the node", lambda: read(f"{place}/state/config.db")
    yield "replace the records of the node", lambda: os.rename(f"{place}/state/config.db", f"{place}/state/probe/x")
    yield "make a record of the node", lambda: write(f"{place}/state/docker.lease", "xb")
    yield "note that something is not written", lambda: write(f"{place}/run/incomplete/x", "xb")
    yield "connect to a local socket", lambda: connect(f"{place}/local")
    yield "connect to an abstract socket", lambda: connect(f"\0{place}")
    yield "open netlink", lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) and None


def main():
    place, process = PLACE, PROCESS
    # until all processes of the node are there
    for _ in range(600):
        if processes().keys() | {process} >= {"supervisor", "config", "health", "director"}:
            break
        time.sleep(0.05)
    results = {name: attempt(what) for name, what in tried(place)}
    if process == "health":
        results |= {name: attempt(what) for name, what in tried_by_health(place)}
    if process != "director":
        results["flush the table"] = attempt(flush_table)
    for name, result in results.items():
        report(f"{name}: {result}")
    for variable in os.environ:
        report(f"environment: {variable}")
    for path in descriptors():
        report(f"descriptor: {path}")
    report(f"uid: {os.getuid()}")
    report("the end")
    end_the_node()  # which ends this process, if anything


main()
