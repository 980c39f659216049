"""The actors of the director process between a configuration and verdicts that the test publishes, and a recorder."""

from ipaddress import ip_address

from actors.base.messages import Ping
from actors.config.config_publisher import ConfigPublisher
from actors.config.messages import SourceUpdate
from actors.director.backend_merger import BackendMerger
from actors.director.messages import MergedUpdate
from actors.director.route_resolver import RouteResolver
from actors.link.messages import ValueIs, VerdictIs
from actors.link.publisher import Publisher
from clusterf.config.decode import decode
from clusterf.config.keys import parse_key
from clusterf.config.model import BackendKey, FrontendKey, HealthCheck, HealthKey
from clusterf.director.merger import RealServerWanted
from clusterf.health.verdict import Verdict, VerdictKey
from clusterf.lib.addresses import Endpoint
from clusterf.resolve.virtual_servers import Defaults
from clusterf.sources.url import Source

__all__ = [
    "AT",
    "DOWN",
    "FRONTEND",
    "RIVAL",
    "TCP",
    "UP",
    "Director",
    "backend",
    "is_synced",
    "items",
    "sources",
    "updates",
    "value",
    "verdict",
    "weights",
]


def value(path, text):
    return decode("s", path, parse_key(path), text).value


FRONTEND = ValueIs(FrontendKey(b"web"), value(b"services/web/frontend", b'{"ipv4": "10.1.1.1", "tcp": 80}'))
RIVAL = ValueIs(FrontendKey(b"web2"), FRONTEND.value)


def backend(weight):
    raw = b'{"ipv4": "10.2.2.1", "tcp": 8080, "weight": %d}' % weight
    return ValueIs(BackendKey(b"web", b"1"), value(b"services/web/backends/1", raw))


def sources(count):
    return tuple(Source(f"file:///{number}", tree=f"/{number}") for number in range(count))


def updates(recorder):
    """Return all updates that have come."""
    return [message for message in recorder.messages if isinstance(message, MergedUpdate)]


def items(recorder):
    return [item for update in updates(recorder) for item in update.items]


AT = Endpoint(ip_address("10.2.2.1").packed, 8080)
TCP = ValueIs(HealthKey(b"web"), HealthCheck())
UP, DOWN = Verdict(up=True, since=1.0), Verdict(up=False, since=2.0, reason="refused")


def verdict(value, name=b"1", at=AT):
    return VerdictIs(VerdictKey(b"web", name, at), value)


class Director:
    """A configuration, its actors, and health processes as publishers; `receiver` stands for the writer."""

    def __init__(self, links, receiver, processes=1, **options):
        self._links = links
        names = [f"health{number}" for number in range(processes)]
        self.config = ConfigPublisher.start(sources(1), "", links)
        self.health = [Publisher(name, links) for name in names]
        for publisher in self.health:
            publisher.start()
        self.recorder = receiver
        self.merger = BackendMerger.start(receiver, links, **{"elide": False, "health": names} | options)
        self.resolver = RouteResolver.start(links, Defaults(), self.merger)

    def configure(self, *messages, synced=True):
        self.config.tell(SourceUpdate(0, messages, synced))
        return self

    def publish(self, *verdicts, synced=True, process=0):
        self.health[process].publish(verdicts, synced=synced)
        return self

    def crash(self):
        """Replace the health process by one without verdicts."""
        self.health[0].stop()
        self.health[0] = Publisher("health0", self._links)
        self.health[0].start()
        return self

    def crash_config(self):
        """Replace the config process by one that knows nothing yet."""
        self.config.stop()
        self.config = ConfigPublisher.start(sources(1), "", self._links)
        return self

    def wait(self):
        """Wait until the merger has handled all messages so far."""
        self.merger.ask(Ping(), timeout=10)


def weights(recorder):
    return [item.settings.weight for item in items(recorder) if isinstance(item, RealServerWanted)]


def is_synced(recorder):
    return any(update.synced for update in updates(recorder))
