"""A Monitor with a clock, and targets and references that pass or fail as the test says."""

import random
from collections import Counter

from clusterf.config.model import HealthCheck
from clusterf.health.monitor import Monitor
from clusterf.health.targets import Target
from clusterf.health.verdict import ProbeResult, StoredVerdict, Verdict
from clusterf.lib.addresses import Endpoint

__all__ = ["CHECK", "DOWN", "FAILURE", "SUCCESS", "UP", "WALL", "MonitorWorld", "target"]

WALL = 1_700_000_000.0  # Unix time, seconds
SUCCESS, FAILURE = ProbeResult(True, "", 0.001), ProbeResult(False, "refused", 0.001)
CHECK = HealthCheck(type="tcp", interval=5.0, fast_interval=1.0, timeout=2.0, rise=2, fall=3, jitter=0.0)
UP, DOWN = StoredVerdict(Verdict(True, 1.0), True), StoredVerdict(Verdict(False, 1.0, "refused"), True)


def target(number, check=CHECK, **changes):
    fields = {field: getattr(check, field) for field in check.__struct_fields__}
    return Target(Endpoint(number.to_bytes(4, "big"), 80), HealthCheck(**fields | changes))


class MonitorWorld:
    """A monitor, a clock in seconds, and how often each target and the references were probed."""

    def __init__(self, *, references=False):
        self.monitor = Monitor(references=references, chance=random.Random(7).random)
        self.now = 1000.0
        self.failing = set()
        self.probes = Counter()
        self.transitions = []
        # whether the references respond, when they were probed last, and how often
        self.references_up = True
        self.references_probed_at = -10.0
        self.reference_probes = 0

    def watch(self, *targets, **options):
        for one in targets:
            self.monitor.watch(one, self.now, **options)

    def finish(self, one, result):
        transitions = self.monitor.finished(one, result, self.now, WALL + self.now)
        self.transitions += transitions
        return transitions

    def run(self, seconds):
        """Let time pass in steps of a hundredth of a second; probes take no time."""
        for _ in range(round(seconds * 100)):
            self.now += 0.01
            for one in self.monitor.take(self.now):
                self.probes[one] += 1
                self.finish(one, FAILURE if one in self.failing else SUCCESS)
            if self.monitor.needs_references and self.now - self.references_probed_at >= 1.0:
                self.references_probed_at = self.now
                self.reference_probes += 1
                self.transitions += self.monitor.references_responded(self.references_up, self.now, WALL + self.now)

    def changes(self):
        """Return the transitions since the last call: the number of the target, and whether it is up."""
        transitions, self.transitions = self.transitions, []
        return [(int.from_bytes(one.target.endpoint.packed, "big"), one.verdict.up) for one in transitions]
