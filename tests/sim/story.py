"""What has happened, as a story that can be read: events, what clusterf wrote and logged, and what was wrong."""

import logging
from collections.abc import Iterator

from clusterf.ipvs import ipvsadm
from clusterf.ipvs.table import Step
from tests.sim.simulation import START, Simulation

__all__ = ["Story"]


class Story(logging.Handler):
    """Keeps lines with their simulated times; log lines of the code under test only if it is attached."""

    def __init__(self, simulation: Simulation, *, detailed: bool = False) -> None:
        super().__init__()
        self._detailed = detailed
        self._simulation = simulation
        self._lines: list[tuple[float, str, str, Step | None]] = []

    def add(self, text: str, who: str = "") -> None:
        """Add a line."""
        self._lines.append((self._simulation.now, who, text, None))

    def detail(self, text: str, who: str) -> None:
        """Add a line, if the story is a detailed one."""
        if self._detailed:
            self.add(text, who)

    def step(self, who: str, step: Step) -> None:
        """Add a step that clusterf wrote."""
        self._lines.append((self._simulation.now, who, "", step))

    def emit(self, record: logging.LogRecord) -> None:
        """Add a log line of the process that runs."""
        process = self._simulation.current
        who = f"{process.node.name}/{process.name}" if process is not None else ""
        self.add(f"[{record.levelname.lower()}] {record.getMessage()}", who)

    def lines(self, about: str = "") -> Iterator[str]:
        """Yield all lines; of the steps only those whose command contains `about`."""
        for at, who, text, step in self._lines:
            line = text if step is None else f"    {ipvsadm.command(step)}"
            if step is None or about in line:
                yield f"{at - START:9.3f}  {who + ': ' if who else ''}{line}"
