"""From a container's labels to the backends that it asks for, each with its health check.

    net.qmsk.clusterf.service="web api"         services it backs
    net.qmsk.clusterf.backend.tcp=8080          port for all of them (also .udp, .sctp)
    net.qmsk.clusterf.backend:api.tcp=9090      port for one of them; empty: none
    net.qmsk.clusterf.backend.weight=20         (also backend:SERVICE.weight)
    net.qmsk.clusterf.network=front             network whose address is published
    net.qmsk.clusterf.health=http:/healthz      how it is checked: see clusterf.docker.label_checks

Those who run a container need not be those who run the cluster. So labels are
bounded in size and number, their values are decoded as if they came from etcd,
and an invalid one takes away no more than the backend that it is for. `LabelRules`
says for which services a node publishes containers at all, and with how much weight.
"""

import re
from collections.abc import Collection, Mapping
from typing import Final, NamedTuple

import msgspec

from clusterf.config.decode import decode
from clusterf.config.model import ADDRESS_PROTOCOLS, Backend, BackendKey
from clusterf.config.problems import Problem
from clusterf.docker.addresses import ContainerAddress, host_ports
from clusterf.docker.containers import Container
from clusterf.docker.label_checks import MAX_SHOWN, SOURCE, label_check
from clusterf.lib.addresses import Protocol
from clusterf.lib.patterns import matches_any

__all__ = ["LabelRules", "Labels", "Report", "backends_at", "network_label", "parse"]

MAX_WEIGHT: Final = 65535
MAX_SERVICES: Final = 1000
MAX_NAME: Final = 255  # bytes of a service's name, as of a file's: a tree has the same names
MAX_PROBLEMS: Final = 20

_PORTS: Final = {protocol.name.lower(): protocol for protocol in ADDRESS_PROTOCOLS}
_NUMBER: Final = re.compile(r"[0-9]{1,9}", re.ASCII)


class LabelRules(NamedTuple):
    """What labels may ask for: services whose names match a pattern, a weight, and which checks.

    `full_checks`: all that a health check can be.
    """

    services: tuple[str, ...] = ("*",)
    max_weight: int = MAX_WEIGHT
    full_checks: bool = False


NO_RULES: Final = LabelRules()


class Labels(NamedTuple):
    """What the labels of a container ask for: backends by service, with the container's ports and no address yet."""

    backends: Mapping[str, Backend]


class Report:
    """The problems of a container or a network, by its name; beyond `MAX_PROBLEMS` only how many more there are."""

    def __init__(self, name: str) -> None:
        self._path = name[:MAX_SHOWN].encode(errors="replace")
        self._problems: dict[Problem, None] = {}
        self._more = 0

    def __call__(self, field: str, reason: str, *, fatal: bool = True) -> None:
        """Add a problem of a label, or with an empty `field` of the whole. `fatal`: it takes something away."""
        problem = Problem(SOURCE, self._path, field[:MAX_SHOWN], reason, fatal)
        if len(self._problems) < MAX_PROBLEMS:
            self._problems[problem] = None
        elif problem not in self._problems:
            self._more += 1

    @property
    def problems(self) -> tuple[Problem, ...]:
        """All problems, each once."""
        more = [Problem(SOURCE, self._path, "", f"and {self._more} more problems", fatal=True)] if self._more else []
        return (*self._problems, *more)


class _Backends(NamedTuple):
    """The labels about backends by field: those for all services, and those for one of them."""

    general: Mapping[str, str]
    own: Mapping[str, Mapping[str, str]]

    def of(self, service: str) -> dict[str, tuple[str, str]]:
        """Return the label and the text of each field that a service's backend has."""
        fields = {field: (f"backend.{field}", text) for field, text in self.general.items()}
        for field, text in self.own.get(service, {}).items():
            fields[field] = f"backend:{service}.{field}", text
        return {field: (label, text) for field, (label, text) in fields.items() if text}


def network_label(container: Container) -> str:
    """Return the name of the network to publish, empty where no label names one."""
    return container.labels.get("network", "").strip()


def parse(
    container: Container, report: Report, rules: LabelRules = NO_RULES, ports: Collection[int] | None = None
) -> Labels:
    """Return what the labels of a container ask for, and report what is invalid or against the rules.

    `ports` are the TCP ports at which it can be checked, None: those that it exposes.
    """
    texts = {label: text.strip() for label, text in container.labels.items()}
    services = _services(texts.get("service", ""), report)
    if ports is None:
        ports = [port for protocol, port in container.exposed if protocol is Protocol.TCP]
    health = texts.get("health")
    check = label_check(health, ports, report, full=rules.full_checks) if health else None
    fields = _sort(texts, services, report)
    backends = {}
    for service in services:
        if not matches_any(service.encode(), rules.services):
            report("service", f"service {service[:MAX_SHOWN]} is not allowed (--docker-services)")
            continue
        backend = _backend(service, fields.of(service), container, report)
        if backend is not None:
            weight = _limited(backend.weight, fields.of(service), rules.max_weight, report)
            backends[service] = msgspec.structs.replace(backend, weight=weight, health=check)
    return Labels(backends)


def _limited(weight: int, texts: Mapping[str, tuple[str, str]], limit: int, report: Report) -> int:
    if weight > limit and "weight" in texts:
        report(texts["weight"][0], f"{weight} is more than --docker-max-weight, using {limit}")
    return min(weight, limit)


def _services(text: str, report: Report) -> dict[str, None]:
    """Return the valid service names in a label, each once."""
    names = dict.fromkeys(text.split())
    if not names:
        report("service", "no service named")
    valid: dict[str, None] = {}
    for name in names:
        if len(valid) == MAX_SERVICES:
            report("service", f"too many services: {len(names)}, limit {MAX_SERVICES}")
            break
        if reason := _invalid(name):
            report("service", f"invalid service name ({reason}): {name[:MAX_SHOWN]}")
        else:
            valid[name] = None
    return valid


def _invalid(name: str) -> str:
    """Return the reason why no service can have this name, empty where one can."""
    if "/" in name or name in {".", ".."}:
        return "a path"
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        return "not UTF-8"
    return f"{size} bytes, limit {MAX_NAME}" if size > MAX_NAME else ""


def _sort(labels: Mapping[str, str], services: Mapping[str, None], report: Report) -> _Backends:
    """Return the labels about backends, and report those that have no effect."""
    general: dict[str, str] = {}
    own: dict[str, dict[str, str]] = {}
    for label, text in sorted(labels.items()):
        if label in {"service", "network", "health"}:
            continue
        scope, _, field = label.rpartition(".")
        kind, _, service = scope.partition(":")
        if kind != "backend" or field not in {*_PORTS, "weight"}:
            report(label, "unknown label", fatal=False)
        elif scope == "backend":
            general[field] = text
        elif service in services:
            own.setdefault(service, {})[field] = text
        else:
            report(label, "for a service that is not in the service label", fatal=False)
    return _Backends(general, own)


def _backend(
    service: str, texts: Mapping[str, tuple[str, str]], container: Container, report: Report
) -> Backend | None:
    """Return the backend of one service, None where the labels describe none."""
    numbers = {field: int(text) for field, (_, text) in texts.items() if _NUMBER.fullmatch(text)}
    for field, (label, text) in texts.items():
        if field not in numbers:
            report(label, f"not a number: {text[:MAX_SHOWN]}")
    decoded = decode(SOURCE, b"", BackendKey(b"", b""), msgspec.json.encode(numbers))
    for problem in decoded.problems:
        report(texts[problem.field][0], problem.reason)
    if len(numbers) < len(texts) or not isinstance(decoded.value, Backend):
        return None
    ports = [(field, protocol) for field, protocol in _PORTS.items() if field in numbers]
    hidden = [field for field, protocol in ports if (protocol, numbers[field]) not in container.exposed]
    for field in hidden:
        report(texts[field][0], f"port {numbers[field]}/{field} is not exposed")
    if not ports:
        report("service", f"no port label for service {service}")
    return msgspec.structs.replace(decoded.value, **dict.fromkeys(hidden)) if len(hidden) < len(ports) else None


def backends_at(address: ContainerAddress, labels: Labels, report: Report) -> dict[str, Backend]:
    """Return the backends of these labels at the container's address, and report what cannot be reached there."""
    if address.published is None:
        return {s: msgspec.structs.replace(b, ipv4=address.ipv4, ipv6=address.ipv6) for s, b in labels.backends.items()}
    backends = {}
    for service, backend in labels.backends.items():
        wanted = [(p, port) for p in ADDRESS_PROTOCOLS if (port := backend.port(p)) is not None]
        at, ports, differs = host_ports(address, wanted)
        for protocol, port in wanted:
            if protocol not in ports:
                report("", f"port {port}/{protocol.name.lower()} is not published at a host address")
        if differs:
            reason = f"published at other ports of {address.ipv6} than of {address.ipv4}: using {address.ipv4}"
            report("", reason, fatal=False)
        if ports:
            by_name = {name: ports.get(protocol) for name, protocol in _PORTS.items()}
            backends[service] = msgspec.structs.replace(backend, ipv4=at.ipv4, ipv6=at.ipv6, **by_name)
    return backends
