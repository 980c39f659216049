"""Code that runs in a process of its own, as it cannot undo what it does to itself."""

import subprocess
import sys
import textwrap

__all__ = ["ATTEMPT", "attempts", "run_confined"]

# each attempt is a line: the error's name, or "done"
ATTEMPT = """
import errno
def attempt(what):
    try:
        what()
    except OSError as error:
        print(errno.errorcode[error.errno], flush=True)
    else:
        print("done", flush=True)
"""


def run_confined(code: str, *, check: bool = True) -> str:
    """Return what the code prints."""
    command = [sys.executable, "-c", ATTEMPT + textwrap.dedent(code)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert not check or done.returncode == 0, done.stderr
    return done.stdout


def attempts(prologue: str, tried: dict[str, str]) -> dict[str, str]:
    """Run the prologue, then try each of these expressions; return what became of each."""
    lines = [f"attempt(lambda: {expression})" for expression in tried.values()]
    results = run_confined("\n".join([textwrap.dedent(prologue), *lines])).split()
    return dict(zip(tried, results, strict=True))
