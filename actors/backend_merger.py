"""BackendMerger: from claims and members to wanted virtual and real servers."""

import logging
from typing import Any

import pykka

from actors.base import Actor
from actors.messages import MergedUpdate, ResolvedUpdate
from clusterf.merge import Merger
from clusterf.resolve import ProblemsOf

__all__ = ["BackendMerger"]

log = logging.getLogger(__name__)


class BackendMerger(Actor):
    """Merge what is resolved, and tell `writer` what is wanted."""

    def __init__(self, writer: pykka.ActorRef[Any], *, elide: bool) -> None:
        super().__init__()
        self._merger = Merger(elide=elide)
        self._writer = writer

    def receive(self, message: Any) -> None:
        """Merge what was resolved."""
        match message:
            case ResolvedUpdate():
                self._merge(message)
            case _:
                raise TypeError(f"BackendMerger does not handle {message!r}")

    def _merge(self, update: ResolvedUpdate) -> None:
        already_logged = {item for item in update.items if isinstance(item, ProblemsOf)}
        for item in update.items:
            self._merger.update(item)
        merged = tuple(self._merger.flush())
        for result in merged:
            if isinstance(result, ProblemsOf) and result not in already_logged:
                for problem in result.problems:
                    log.warning("%s", problem)
        self._writer.tell(MergedUpdate(merged, update.synced, update.taken))
