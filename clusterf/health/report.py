"""What a log says of targets that have come up or gone down."""

from collections.abc import Collection, Iterator
from itertools import islice

from clusterf.config.model import BackendKey
from clusterf.health.monitor import Transition
from clusterf.lib.text import escape

__all__ = ["describe"]

LINES = 10  # backends of a target that are named


def describe(transition: Transition, backends: Collection[BackendKey]) -> Iterator[str]:
    """Yield a line for each of the first backends that the target stands for, and one for the rest."""
    news = _news(transition)
    for key in islice(backends, LINES):
        yield f"{escape(key.service)}/{escape(key.backend)}: {news}"
    if len(backends) > LINES:
        yield f"and {len(backends) - LINES} more: {news}"


def _news(transition: Transition) -> str:
    outcome, count = transition.outcome, transition.count
    at, duration = transition.target.endpoint, f"{outcome.duration * 1000:.1f} ms"
    if transition.verdict.up:
        return f"{at} is up ({_in_a_row(count, 'success', 'successes')}, {duration})"
    # as printable as a name: what a backend sends may be in it
    reason = escape(outcome.reason.encode(errors="surrogatepass"))
    return f"{at} is down: {reason} ({_in_a_row(count, 'failure', 'failures')}, {duration})"


def _in_a_row(count: int, one: str, many: str) -> str:
    return f"1 {one}" if count == 1 else f"{count} {many} in a row"
