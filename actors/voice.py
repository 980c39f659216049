"""What a source says, as messages: objects by key, and problems, each logged once."""

import logging
from collections.abc import Iterator

from actors.messages import ConfigMessage, ProblemsAre, object_is
from clusterf.codec import Problem
from clusterf.source import Said, describe

__all__ = ["Voice"]

log = logging.getLogger(__name__)


class Voice:
    """Speaks for the source at `url`."""

    def __init__(self, url: str) -> None:
        self._url = url
        # what was wrong with paths when they were last spoken of
        self._problems: dict[bytes, tuple[Problem, ...]] = {}

    def messages(self, said: Said) -> Iterator[ConfigMessage]:
        """Yield what `said` means to others, logging problems that are new."""
        if said.key is not None and not said.keep:
            yield object_is(said.key, said.value)
        if said.problems == self._problems.get(said.path, ()):
            return
        if said.problems:
            self._problems[said.path] = said.problems
        else:
            del self._problems[said.path]
        for line in describe(said):
            log.warning("%s", line)
        yield ProblemsAre(self._url, said.path, said.problems)
