"""Stands for what probes: says of each endpoint what the test has it say."""

from clusterf.health.verdict import ProbeResult

__all__ = ["DOWN", "UP", "FakeProbers"]

UP = ProbeResult(True, "", 0.0003)
DOWN = ProbeResult(False, "refused", 0.0002)


class FakeProbers:
    """To be given as what makes a prober. All that it makes say the same."""

    def __init__(self, default=UP):
        # what is said of an endpoint, None: nothing, ever
        self.says = {}
        self.default = default
        # the targets of all probes
        self.started = []
        # how many probers were closed
        self.closed = 0

    def __call__(self, loop):
        return _FakeProber(self, loop)


class _FakeProber:
    def __init__(self, probers, loop):
        self._probers = probers
        self._loop = loop
        self._closed = False

    def start(self, target, done):
        assert self._loop.is_running()
        assert not self._closed
        self._probers.started.append(target)
        outcome = self._probers.says.get(target.endpoint, self._probers.default)
        if outcome is not None:
            self._loop.call_soon(done, outcome)

    def close(self):
        self._closed = True
        self._probers.closed += 1
