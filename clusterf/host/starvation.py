"""How long the threads of a process wait for a CPU or a device: what one that does not answer may have lacked.

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
            for folder in self._folder.iterdir():
                with suppress(FileNotFoundError, ProcessLookupError):
                    counters = (folder / "schedstat").read_text().split()
                    state = (folder / "stat").read_text().rpartition(")")[2].split()[0]
                    yield folder.name, _Thread(state in {"R", "D"}, *map(int, counters))
