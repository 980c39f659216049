"""Run a command beside the two backends of the service `demo` in configs/example, tiny HTTP servers on loopback.

    python configs/demo/run.py COMMAND [ARGUMENT]...

They stop when the command does. Kill one and restart it to see its health
change: the commands for that are printed first.
"""

import shlex
import signal
import subprocess
import sys
from pathlib import Path

WWW = Path(__file__).with_name("www")
ADDRESSES = {"demo1": "127.107.107.1", "demo2": "127.107.107.2"}


def main() -> int:
    """Return the exit status of the command."""
    servers = []
    for name, address in ADDRESSES.items():
        line = [sys.executable, "-m", "http.server", "8080", "--bind", address, "--directory", str(WWW)]
        # neither its log of requests nor the error if one runs already is of use here
        servers.append(subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        # to standard error, as standard output belongs to the command
        sys.stderr.write(f"demo: {name} is running; stop: kill {servers[-1].pid}; restart: {shlex.join(line)}\n")
    try:
        with subprocess.Popen(sys.argv[1:]) as command:
            # a terminal sends SIGINT to the command, too, which then stops
            signal.signal(signal.SIGINT, lambda *_: None)
            signal.signal(signal.SIGTERM, lambda *_: command.terminate())
            return command.wait()
    finally:
        for server in servers:
            server.terminate()
            server.wait()


if __name__ == "__main__":
    sys.exit(main())
