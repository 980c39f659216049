"""The director in the guest: `python -m tests.soak.hosts.guest FOLDER URL NUMBER` runs one for that many hosts.

FOLDER is shared with the host. It has the orders, a file each by its number; what is
logged, a line each with its time; and what the observer of the kernel's table sees. All
times are of the guest's monotonic clock, of which `clock` says how it is to be converted.
"""

import signal
import subprocess
import sys
import time
from itertools import count
from pathlib import Path

import msgspec

from tests.soak.history import LogLine, Recorder
from tests.soak.hosts.network import DIRECTOR, host_address, subnet
from tests.soak.node import Node, director, send

__all__ = ["CLOCK", "DONE", "END", "KILL", "LOG", "OBSERVED", "RESTART", "offset"]

CLOCK, LOG, OBSERVED, DONE = "clock", "log", "observed", "done"  # files
END, RESTART, KILL = "end", "restart", "kill"  # orders; the last one is followed by the name of a child
PAUSE = 0.05  # seconds between looks for orders


def offset() -> float:
    """Return how much the time of day is ahead of the monotonic clock, in seconds."""
    return time.time() - time.monotonic()


class Log(Recorder):
    """Writes what is logged to a file at once, for as long as the guest lives."""

    def __init__(self, path: Path) -> None:
        super().__init__(0)
        self._out = path.open("wb", buffering=0)

    def logged(self, text: str) -> None:
        """Write a line."""
        self._out.write(msgspec.json.encode(LogLine(time.monotonic(), text)) + b"\n")


def connect(hosts: int) -> None:
    """Set up the guest's network."""
    lines = [f"addr add {DIRECTOR}/24 dev vec0", "link set vec0 up"]
    lines += [f"route add {subnet(number)} via {host_address(number)}" for number in range(hosts)]
    subprocess.run(["ip", "-batch", "-"], input="\n".join(lines) + "\n", text=True, check=True)


def obey(folder: Path, node: Node) -> None:
    """Follow orders until the last one."""
    for number in count():
        order = folder / f"order{number}"
        while not order.exists():
            time.sleep(PAUSE)
        match order.read_text().split():
            case ["end"]:
                return
            case ["restart"]:
                node.restart()
            case ["kill", name]:
                send(node.children().get(name, 0) or node.pid, signal.SIGKILL)
        (folder / f"{DONE}{number}").touch()


def main() -> None:
    """Run a director until it is ordered to end."""
    folder, url, hosts = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    connect(hosts)
    (folder / CLOCK).write_text(str(offset()))
    observer = subprocess.Popen([sys.executable, "-m", "tests.soak.observer", str(folder / OBSERVED)])
    state = Path("/run/clusterf-soak")
    with Node(Log(folder / LOG), director([url]), state / "state", state / "run") as node:
        (folder / f"{DONE}{RESTART}").touch()
        obey(folder, node)
    observer.send_signal(signal.SIGTERM)
    observer.wait()


if __name__ == "__main__":
    main()
