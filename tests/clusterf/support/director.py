"""A service whose backends have verdicts, and the table that follows."""

from ipaddress import IPv4Address, IPv6Address
from types import MappingProxyType

from clusterf.config.model import Backend, BackendKey, Frontend, FrontendKey, HealthCheck, HealthKey
from clusterf.director.removal_hold import CALM, HoldPolicy
from clusterf.director.retention import Retention
from clusterf.director.rotation import Rotation
from clusterf.ipvs.table import Table
from clusterf.lib.addresses import Endpoint
from tests.clusterf.support.pipeline import Pipeline

__all__ = [
    "INITIALLY_UP",
    "REMOVES",
    "TCP",
    "UNCHECKED",
    "VIP",
    "VIP6",
    "WEB",
    "Director",
    "F",
    "H",
    "at",
    "backend",
    "key",
    "service",
    "virtuals",
]

VIP, VIP6 = IPv4Address("198.51.100.1"), IPv6Address("fd00:ff::1")
WEB = Frontend(ipv4=VIP, tcp=80)
F, H = FrontendKey(b"web"), HealthKey(b"web")
TCP, INITIALLY_UP, REMOVES = HealthCheck(), HealthCheck(initial="up"), HealthCheck(on_down="remove")
UNCHECKED = HealthCheck(type="none")


def key(number):
    return BackendKey(b"web", b"%d" % number)


def backend(number, **fields):
    return Backend(**{"ipv4": IPv4Address("10.0.0.0") + number, "tcp": 8080} | fields)


def at(number, port=8080):
    return Endpoint((IPv4Address("10.0.0.0") + number).packed, port)


def service(*numbers, frontend=WEB, **fields):
    return {F: frontend} | {key(number): backend(number, **fields) for number in numbers}


DEFAULTS = HoldPolicy()


class Director:
    """A pipeline with a rotation, and short ways to change the configuration and the verdicts."""

    def __init__(self, configuration, in_force=Table, *, ours=(), begun=True, elide=False, hold=DEFAULTS, **options):
        self.rotation = Rotation(in_force)
        retention = Retention(hold, **options)
        self.hold = retention.hold
        self.pipeline = Pipeline(elide=elide, rotation=self.rotation, retention=retention)
        self.put(configuration)
        if begun:
            self.begin(in_force(), dict.fromkeys(ours, 30.0))

    def begin(self, found=None, ours=MappingProxyType({})):
        self.rotation.begin()
        reals = (found or Table()).reals
        self.pipeline.merger.begin(lambda virtual, real: reals.get(virtual, {}).get(real))
        self.pipeline.flush()
        self.pipeline.want(self.pipeline.retention.begin(found or Table(), ours))

    def pass_time(self, seconds):
        """Let time go by; return what changes in the desired table."""
        self.pipeline.now += seconds
        return self.pipeline.flush()[1]

    def wait(self, seconds=CALM):
        """Let time go by, and have removed what may leave then; return that."""
        self.pipeline.now += seconds
        return self.pipeline.release()

    def put(self, configuration):
        """Update these objects; return what changes in the desired table."""
        for each, value in configuration.items():
            self.pipeline.resolver.update(each, value)
        self.hold.changed(self.pipeline.now)
        return self.pipeline.flush()[1]

    def judge(self, verdicts, port=8080, at=at, service=b"web"):
        """Set the verdicts on these backends, by number; return what changes in the desired table."""
        for number, up in verdicts.items():
            self.rotation.put_verdict(service, b"%d" % number, at(number, port), up)
        return self.pipeline.flush()[1]

    def refuse(self, *numbers):
        """Say that these backends are not probed; return what changes in the desired table."""
        for number in numbers:
            self.rotation.put_verdict(b"web", b"%d" % number, at(number), None, refused=True)
        return self.pipeline.flush()[1]

    @property
    def weights(self):
        """The weights of the real servers of the one virtual server, by the last number of their address."""
        ((_, reals),) = self.pipeline.table.reals.items()
        return {int(real.address) & 0xFF: settings.weight for real, settings in reals.items()}


def virtuals(frontend):
    return Pipeline.of({F: frontend}).table.virtuals
