"""How long the threads of a process wait for a CPU or a device: what one that does not answer may have lacked.

Threads of a lower priority than its first do not count: they are to wait, and nobody waits for them.
A process that waits for a device (state D) cannot be killed before that answers,
and the next one would wait for it, too.
"""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

__all__ = ["Starvation"]


class _Thread(NamedTuple):
    """What the kernel says of a thread: whether it would run, and three counters that grow when it does."""

    is_waiting: bool  # for a CPU, if it does not have one, or for a device
    ran: int  # nanoseconds
    waited: int  # nanoseconds; of a wait that lasts it says nothing
    turns: int


class Starvation:
    """The time that the threads of process `pid` would have run, and did not."""

    def __init__(self, pid: int) -> None:
        self._folder = Path(f"/proc/{pid}/task")
        self._first = self._folder / str(pid) / "stat"
        self._threads: dict[str, _Thread] = {}
        self.since_last(0)

    def since_last(self, passed: float) -> float:
        """Return the seconds of the `passed` ones since the call before in which any thread waited.

        0 if the kernel does not count them, or the process has ended.
        """
        before, self._threads = self._threads, dict(self._read())
        waited = 0.0
        for number, thread in self._threads.items():
            last = before.get(number)
            # without any turn the kernel does not count them
            if last == thread and thread.is_waiting and thread.turns:
                return passed
            waited += (thread.waited - (last.waited if last is not None else 0)) / 1e9
        return min(passed, waited)

    def _read(self) -> Iterator[tuple[str, _Thread]]:
        """Yield the threads by their numbers, without those that have just ended."""
        with suppress(FileNotFoundError, ProcessLookupError):
            normal = _nice(_fields(self._first))
            for folder in self._folder.iterdir():
                with suppress(FileNotFoundError, ProcessLookupError):
                    counters = (folder / "schedstat").read_text().split()
                    fields = _fields(folder / "stat")
                    if _nice(fields) <= normal:
                        yield folder.name, _Thread(fields[0] in {"R", "D"}, *map(int, counters))


def _fields(stat: Path) -> list[str]:
    """Return the fields of a thread from its state on (proc_pid_stat(5))."""
    return stat.read_text().rpartition(")")[2].split()


def _nice(fields: list[str]) -> int:
    return int(fields[16])
