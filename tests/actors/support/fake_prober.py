"""A fake prober, with the results that the test gives for each endpoint."""

from clusterf.health.verdict import ProbeResult

__all__ = ["DOWN", "UP", "FakeProbers"]

UP = ProbeResult(True, "", 0.0003)
DOWN = ProbeResult(False, "refused", 0.0002)


class FakeProbers:
    """Makes probers, all with the same results."""

    def __init__(self, default=UP):
        # the result by endpoint, and for all others; None: the probe never ends
        self.results = {}
        self.default = default
        # the targets of all probes
        self.started = []
        # what is known of files of authorities
        self.authorities = {}
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
        result = self._probers.results.get(target.endpoint, self._probers.default)
        if result is not None:
            self._loop.call_soon(done, result)

    def set_authorities(self, path, authorities):
        self._probers.authorities[path] = authorities

    def close(self):
        self._closed = True
        self._probers.closed += 1
