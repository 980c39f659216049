"""Delays between tries: exponential, with jitter, by tenacity's own reckoning."""

from tenacity import RetryCallState, Retrying, wait_exponential

from clusterf.lib.jitter import jittered

__all__ = ["Backoff"]


class Backoff:
    """The delays of a series of tries, for those who cannot sit in tenacity's loop."""

    def __init__(self, initial: float, longest: float) -> None:
        """Begin with about `initial` seconds, double each time, up to about `longest` seconds."""
        self._wait = wait_exponential(multiplier=initial, max=longest)
        self.tries = 0

    def next(self) -> float:
        """Count one more try that failed; return the seconds to wait before the next."""
        self.tries += 1
        state = RetryCallState(Retrying(), None, (), {})
        state.attempt_number = self.tries
        # the longest delay has jitter too, so that many who lost the same server do not come back at once
        return jittered(self._wait(state))

    def reset(self) -> None:
        """Begin anew, after a success."""
        self.tries = 0
