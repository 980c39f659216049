"""A node in one of whose processes foreign code runs, as if that had been taken over.

    python -m tests.system.support.inside PROCESS FILE FLAGS…

runs clusterf-node with these flags. In the process of that name, once its actors run, the Python code in FILE is
executed in a thread: with the process's own ids, capabilities, descriptors, environment and filters. What it
prints is logged.
"""

import logging
import sys
import threading
from pathlib import Path

__all__ = ["command"]

ROOT = Path(__file__).parents[3]
_CHILD = """
import sys
sys.path[:] = {path!r}
from tests.system.support.inside import be_child
be_child({process!r}, {code!r})
"""


def command(process: str, file: Path) -> list[str]:
    """Return the command of a node with this code in the process of that name, without flags."""
    return [sys.executable, "-P", str(Path(__file__)), process, str(file)]


def be_child(process: str, code: str) -> None:
    """Be a child process; run the code in it if it is the one of that name."""
    from actors.node import child_of
    from actors.supervision import child

    def taken_over(name, settings):
        this = child_of(name, settings)
        if name != process:
            return this

        def start(settings, host):
            actors = this.start(settings, host)
            threading.Thread(target=_run, args=(code,), daemon=True).start()
            return actors

        return this._replace(start=start)

    child.child_of = taken_over
    child.main()


def _run(code: str) -> None:
    log = logging.getLogger("inside")
    scope = {"report": lambda text: log.warning("inside: %s", text)}
    try:
        exec(compile(code, "inside", "exec"), scope)
    except Exception as error:  # noqa: BLE001 - whatever it is, the test sees it
        log.error("inside: failed: %r", error)


def main() -> None:
    process, file, *flags = sys.argv[1:]
    sys.path.insert(0, str(ROOT))
    from actors import main as main_module
    from actors.supervision.supervisor import Supervisor

    code = _CHILD.format(path=[path for path in sys.path if path], process=process, code=Path(file).read_text())
    child = (sys.executable, "-I", "-c", code)
    main_module.Supervisor = lambda *given, **options: Supervisor(*given, command=child, **options)
    sys.argv = ["clusterf-node", *flags]
    main_module.main()


if __name__ == "__main__":
    main()
