"""From updates to the desired table, without actors: Resolver ► Merger (► Retention) ► Reconciler."""

from clusterf.config.problems import ProblemsOf
from clusterf.director.merger import Merger, RealServerWanted, VirtualServerWanted
from clusterf.director.pools import PanicMode
from clusterf.ipvs.ipvsadm import lines
from clusterf.reconcile.reconciler import Reconciler
from clusterf.resolve.resolver import Resolver
from clusterf.resolve.virtual_servers import Defaults

__all__ = ["NODE", "Pipeline"]


NODE = Defaults()


class Pipeline:
    """Takes the configuration by key; has the desired table, the problems, and the changes of panic mode.

    Without `rotation` health is ignored. Without `retention` what leaves is removed at once.
    """

    def __init__(self, defaults=NODE, *, elide=False, rotation=None, retention=None):
        self.resolver = Resolver(defaults)
        in_force = {} if retention is None else {"in_force": retention}
        self.merger = Merger(elide=elide, rotation=rotation, **in_force)
        self.retention = retention
        self.now = 0.0
        self.reconciler = Reconciler()
        self.problems = {}
        self.panics = []

    @classmethod
    def of(cls, configuration, defaults=NODE, *, elide=False, rotation=None):
        made = cls(defaults, elide=elide, rotation=rotation)
        for key, value in configuration.items():
            made.resolver.update(key, value)
        made.flush()
        return made

    @property
    def table(self):
        return self.reconciler.desired

    @property
    def lines(self):
        """The table as commands, without what every tunnel has."""
        return [line.removesuffix(" --tun-type ipip") for line in lines(self.table)]

    @property
    def outstanding(self):
        return {problem for problems in self.problems.values() for problem in problems}

    def put(self, key, value):
        """Update one object, and return what was resolved and what was merged."""
        self.resolver.update(key, value)
        return self.flush()

    def flush(self):
        resolved = list(self.resolver.flush())
        for item in resolved:
            self.merger.update(item)
        merged = list(self.merger.flush(self.now))
        if self.retention is not None:
            merged = list(self.retention.take(merged, self.now))
        self.want(merged)
        return resolved, merged

    def release(self):
        """Have removed what may leave; return what changes in the desired table."""
        released = list(self.retention.release(self.now, self.merger.proving))
        self.want(released)
        return released

    def want(self, merged):
        for item in merged:
            match item:
                case VirtualServerWanted(virtual, claim, _):
                    self.reconciler.want_virtual(virtual, claim)
                case RealServerWanted(virtual, real, settings, _):
                    self.reconciler.want_real(virtual, real, settings)
                case PanicMode():
                    self.panics.append(item)
                case ProblemsOf(subject, problems):
                    assert self.problems.get(subject, ()) != problems, "told twice"
                    self.problems[subject] = problems
