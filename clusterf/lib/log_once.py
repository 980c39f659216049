"""Logging a complaint once: when it begins and when it changes, not each time that it is found again."""

import logging
import math
import time
from collections.abc import Callable, Collection, Hashable

__all__ = ["LogOnce"]


class LogOnce:
    """Logs the complaint about each subject when it is new, or another one than was logged last.

    With `remind`, seconds, each is forgotten after that time, so that one that lasts is logged again.
    """

    def __init__(
        self,
        logger: logging.Logger,
        level: int = logging.WARNING,
        *,
        remind: float = math.inf,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._logger = logger
        self._level = level
        self._remind = remind
        self._clock = clock
        # by subject, the complaint that was logged last, and when
        self._logged: dict[Hashable, tuple[object, float]] = {}

    def __contains__(self, subject: Hashable) -> bool:
        """Tell whether there is a complaint about the subject."""
        return subject in self._logged

    def __len__(self) -> int:
        """Return about how many subjects there is a complaint."""
        return len(self._logged)

    def is_new(self, subject: Hashable, complaint: object) -> bool:
        """Record the complaint; return whether it is to be logged. For those that `log` cannot write in one line.

        An empty or missing complaint ends the last one, which is news, too.
        """
        if not complaint:
            return self.end(subject)
        now = self._clock()
        if self._remind < math.inf:
            self._logged = {one: (last, at) for one, (last, at) in self._logged.items() if now - at < self._remind}
        if subject in self._logged and self._logged[subject][0] == complaint:
            return False
        self._logged[subject] = complaint, now
        return True

    def log(self, subject: Hashable, message: str, *arguments: object, level: int | None = None) -> bool:
        """Log `message % arguments` about the subject unless it was logged last; return whether it was logged now."""
        line = message % arguments if arguments else message
        if not self.is_new(subject, line):
            return False
        self._logger.log(self._level if level is None else level, "%s", line)
        return True

    def end(self, subject: Hashable, message: str = "", *arguments: object, level: int = logging.INFO) -> bool:
        """Forget the complaint about the subject; return whether there was one. If so, `message` is logged."""
        if self._logged.pop(subject, None) is None:
            return False
        if message:
            self._logger.log(level, message, *arguments)
        return True

    def retain(self, subjects: Collection[Hashable]) -> None:
        """Forget the complaints about all subjects that are not among these."""
        self._logged = {one: logged for one, logged in self._logged.items() if one in subjects}

    def clear(self) -> None:
        """Forget all complaints."""
        self._logged.clear()
