"""Containers and networks of a Docker engine, as frozen values.

`container_of` and `network_of` take the engine's answer to an inspection and
read only the fields that matter here; ports and addresses are parsed once.
What an engine may leave out (nulls, fields of other versions) is taken as
absent; what has another type or format raises ValueError.
"""

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address, IPv6Address
from signal import SIGKILL, SIGTERM
from typing import Any, Final, Literal, TypeVar

import msgspec

from clusterf.config.fields import read_prefix
from clusterf.lib.addresses import IPNetwork, Protocol, parse_ip, parse_ipv4, parse_ipv6
from clusterf.lib.signals import signal_number

__all__ = ["PREFIX", "Attachment", "Container", "Network", "Published", "container_of", "convert", "network_of"]

PREFIX: Final = "net.qmsk.clusterf."
T = TypeVar("T")
ContainerHealth = Literal["none", "starting", "healthy", "unhealthy"]

_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,128}")  # goes into the paths of keys
_PORTS: Final = re.compile(r"([0-9]{1,5})(?:-([0-9]{1,5}))?(?:/(tcp|udp|sctp))?", re.IGNORECASE)
_TIME: Final = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8})(?:\.([0-9]{1,9}))?(Z|[+-][0-9]{2}:[0-9]{2})")
_NEVER: Final = "0001-01-01T"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Attachment(msgspec.Struct, frozen=True, gc=False):
    """A network that a container is connected to, by name and id, and its addresses there: none while it is stopped."""

    network: str
    network_id: str
    ipv4: IPv4Address | None = None
    ipv6: IPv6Address | None = None


class Published(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A container's port, and the host's port that leads to it, at one address of the host; empty: at all of them."""

    protocol: Protocol
    port: int
    address: str
    host_port: int


class Container(msgspec.Struct, frozen=True):
    """A container. `running` is true while it is paused, and false between two runs.

    `labels` are those that begin with `PREFIX`, without it; the engine has
    merged those of the image. `started_at` is the Unix time of the last start
    in nanoseconds, by the engine's clock; 0: it has never run. `stop_signal`
    is the number of the signal that the engine stops it with, and `stop_seconds`
    how long after it the engine kills it (negative: never; None: its own default). `exposed` are
    the ports that its configuration names, `published` those that the host
    forwards now.
    """

    id: str
    name: str
    labels: Mapping[str, str]
    exposed: frozenset[tuple[Protocol, int]] = frozenset()
    published: tuple[Published, ...] = ()
    attachments: tuple[Attachment, ...] = ()
    running: bool = False
    paused: bool = False
    health: ContainerHealth = "none"
    started_at: int = 0
    stop_signal: int = int(SIGTERM)
    stop_seconds: int | None = None

    def is_stopped_by(self, signal: int) -> bool:
        """Tell whether a signal asks this container to stop."""
        return signal in (SIGTERM, SIGKILL, self.stop_signal)


class Network(msgspec.Struct, frozen=True):
    """A network and its subnets, IPv4 before IPv6."""

    id: str
    name: str
    prefixes: tuple[IPNetwork, ...] = ()


class _HealthState(msgspec.Struct, rename="pascal"):
    status: str = ""


class _State(msgspec.Struct, rename="pascal"):
    running: bool
    paused: bool = False
    restarting: bool = False
    dead: bool = False
    started_at: str = _NEVER
    health: _HealthState | None = None


class _Config(msgspec.Struct, rename="pascal"):
    labels: dict[str, str] | None = None
    exposed_ports: dict[str, Any] | None = None
    stop_signal: str | None = None
    stop_timeout: int | None = None


class _HostConfig(msgspec.Struct, rename="pascal"):
    port_bindings: dict[str, Any] | None = None


class _Endpoint(msgspec.Struct):
    network_id: str = msgspec.field(name="NetworkID", default="")
    ipv4: str = msgspec.field(name="IPAddress", default="")
    ipv6: str = msgspec.field(name="GlobalIPv6Address", default="")


class _Binding(msgspec.Struct, rename="pascal"):
    host_ip: str = ""
    host_port: str = ""


class _NetworkSettings(msgspec.Struct, rename="pascal"):
    networks: dict[str, _Endpoint | None] | None = None
    ports: dict[str, list[_Binding] | None] | None = None


class _Inspect(msgspec.Struct, rename="pascal"):
    id: str
    state: _State
    config: _Config
    network_settings: _NetworkSettings
    name: str = ""
    host_config: _HostConfig | None = None


class _Subnet(msgspec.Struct, rename="pascal"):
    subnet: str = ""


class _Ipam(msgspec.Struct, rename="pascal"):
    config: list[_Subnet] | None = None


class _NetworkInspect(msgspec.Struct, rename="pascal"):
    id: str
    name: str
    ipam: _Ipam | None = msgspec.field(name="IPAM", default=None)


def container_of(inspect: Mapping[str, Any]) -> Container:
    """Return the container that the engine's JSON describes. Raises ValueError with the reason why it does not."""
    parsed = convert(inspect, _Inspect)
    state, config, settings = parsed.state, parsed.config, parsed.network_settings
    # a port that is only bound to one of the host's is exposed, too, also while the container is stopped
    exposed = {**(config.exposed_ports or {}), **((parsed.host_config and parsed.host_config.port_bindings) or {})}
    return Container(
        id=_checked_id(parsed.id),
        name=parsed.name.removeprefix("/"),
        labels={k.removeprefix(PREFIX): v for k, v in (config.labels or {}).items() if k.startswith(PREFIX)},
        exposed=_exposed(exposed),
        published=tuple(_published(settings.ports or {})),
        attachments=tuple(_attachment(name, end) for name, end in sorted((settings.networks or {}).items()) if end),
        running=state.running and not state.restarting and not state.dead,
        paused=state.paused,
        health=_health(state.health.status if state.health else ""),
        started_at=_nanoseconds(state.started_at),
        # as the engine does for an unknown name
        stop_signal=signal_number(config.stop_signal or "") or int(SIGTERM),
        stop_seconds=config.stop_timeout,
    )


def network_of(inspect: Mapping[str, Any]) -> Network:
    """Return the network that the engine's JSON describes. Raises ValueError with the reason why it does not."""
    parsed = convert(inspect, _NetworkInspect)
    subnets = (parsed.ipam and parsed.ipam.config) or []
    prefixes = {prefix for subnet in subnets if (prefix := read_prefix(subnet.subnet)) is not None}
    ordered = sorted(prefixes, key=lambda prefix: (prefix.version, int(prefix.network_address), prefix.prefixlen))
    return Network(_checked_id(parsed.id), parsed.name, tuple(ordered))


def convert(raw: object, kind: type[T]) -> T:
    """Return the engine's JSON as a value of `kind`. Raises ValueError with the reason why it is none."""
    try:
        return msgspec.convert(raw, kind)
    except msgspec.ValidationError as error:
        raise ValueError(f"unexpected JSON: {error}") from None


def _checked_id(text: str) -> str:
    if not _ID.fullmatch(text):
        raise ValueError(f"not an id: {text[:100]!r}")
    return text


def _health(status: str) -> ContainerHealth:
    match status:
        case "starting" | "healthy" | "unhealthy":
            return status
        case _:
            return "none"


def _ports(text: str) -> tuple[Protocol, int, int] | None:
    """Return the first and the last port of a text such as `8080/tcp` or `8000-8010/udp`, None for any other."""
    match = _PORTS.fullmatch(text)
    if match is None:
        return None
    low = int(match[1])
    high = int(match[2] or low)
    return (Protocol[(match[3] or "tcp").upper()], low, high) if 0 < low <= high < 1 << 16 else None


def _exposed(texts: Iterable[str]) -> frozenset[tuple[Protocol, int]]:
    """Return all ports that the texts name; overlapping ranges cost no more than what they cover."""
    exposed: set[tuple[Protocol, int]] = set()
    highest = dict.fromkeys(Protocol, 0)
    for protocol, low, high in sorted(filter(None, map(_ports, texts))):
        exposed.update((protocol, port) for port in range(max(low, highest[protocol] + 1), high + 1))
        highest[protocol] = max(high, highest[protocol])
    return frozenset(exposed)


def _published(bindings: Mapping[str, list[_Binding] | None]) -> Iterable[Published]:
    for text, ends in sorted(bindings.items()):
        for end in ends or ():
            match _ports(text), _ports(end.host_port):
                case (protocol, port, last), (_, host_port, host_last) if port == last and host_port == host_last:
                    yield Published(protocol, port, str(parse_ip(end.host_ip)) if end.host_ip else "", host_port)


def _attachment(name: str, end: _Endpoint) -> Attachment:
    return Attachment(
        network=name,
        network_id=end.network_id,
        ipv4=parse_ipv4(end.ipv4) if end.ipv4 else None,
        ipv6=parse_ipv6(end.ipv6) if end.ipv6 else None,
    )


def _nanoseconds(text: str) -> int:
    """Return the Unix time of an RFC 3339 text, in nanoseconds; 0 for the year 1, which means never."""
    if not text or text.startswith(_NEVER):
        return 0
    match = _TIME.fullmatch(text)
    if match is None:
        raise ValueError(f"not an RFC 3339 time: {text[:100]!r}")
    seconds = (datetime.fromisoformat(match[1] + match[3]) - _EPOCH) // timedelta(seconds=1)
    if seconds >= 1 << 33:  # in the year 2242; in nanoseconds it still fits into 64 bits
        raise ValueError(f"time out of range: {text}")
    return max(0, seconds * 10**9 + int((match[2] or "").ljust(9, "0")))
