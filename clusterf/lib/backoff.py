"""Delays between attempts: exponential, with jitter, as tenacity computes them."""

from tenacity import RetryCallState, Retrying, wait_exponential

from clusterf.lib.jitter import jittered

__all__ = ["Backoff"]


class Backoff:
    """The delays of a series of attempts, for callers that cannot block in tenacity's loop."""

    def __init__(self, initial: float, longest: float) -> None:
        """Start at about `initial` seconds and double each time, up to about `longest` seconds."""
        self._wait = wait_exponential(multiplier=initial, max=longest)
        self.tries = 0

    def next(self) -> float:
        """Count one more failed attempt; return the seconds to wait before the next."""
        self.tries += 1
        state = RetryCallState(Retrying(), None, (), {})
        state.attempt_number = self.tries
        # the longest delay has jitter, too, so that clients of one server do not all reconnect at once
        return jittered(self._wait(state))

    def reset(self) -> None:
        """Start over, after a success."""
        self.tries = 0
